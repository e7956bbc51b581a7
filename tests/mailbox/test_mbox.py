"""What is particular to mbox files: what separates, what is quoted, whose which field is."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageError, NoSuchMailbox
from sectool.mailbox import (
    Add,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Written,
    mbox,
    open_mailbox,
)
from sectool.mailbox.mbox import form, layout
from sectool.mailbox.mbox.reader import Reader
from sectool.message import IN_MEMORY, BytesContent, Flags
from tests.support.mailbox_contract import DATE, all_placed
from tests.support.mbox_files import waiting_in

FROM = b"From alice@example.org Fri Mar  4 05:06:07 2011\n"
OTHER = b"From bob@example.org Sat Mar  5 05:06:07 2011\n"
MAIL = b"From: alice@example.org\nSubject: hello\n\nbody\n"
NEW = b"From: alice@example.org\nSubject: hello\n\nanother body\n"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "box"


def opened(box: Path, raw: bytes | None = None) -> Mailbox:
    if raw is not None:
        box.write_bytes(raw)
    return open_mailbox(MailboxSpecification("mbox", str(box)))


def contents(mailbox: Mailbox, folder: str = "INBOX") -> list[bytes]:
    found = []
    for listing in mailbox.walk(folder):
        stored = mailbox.fetch(listing.ref)
        with stored.content.open() as stream:
            found.append(stream.read())
        assert len(found[-1]) == stored.content.size == listing.size
        assert BytesContent(found[-1]).digest == stored.content.digest
    return found


def replaced(mailbox: Mailbox, *new: bytes | None) -> None:
    """Puts new messages into the places of all that are there, or of those that have one."""
    pairs = [
        (listing, BytesContent(raw))
        for listing, raw in zip(mailbox.walk("INBOX"), new, strict=True)
        if raw is not None
    ]
    changes = [Replace(one.ref, body, mailbox.fetch(one.ref).revision) for one, body in pairs]
    bodies = [body for _, body in pairs]
    written = mailbox.write(list(zip(mailbox.intend(changes), bodies, strict=True)))
    assert all(isinstance(one, Written) for one in written), written
    placed = mailbox.place([one for one in written if isinstance(one, Written)])
    assert all_placed(mailbox.retire(all_placed(placed)))


# --- what separates -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        pytest.param(FROM + MAIL + b"\n" + OTHER + NEW + b"\n", [MAIL, NEW], id="two"),
        pytest.param(FROM + MAIL, [MAIL], id="without an empty line at the end"),
        pytest.param(FROM + MAIL[:-1], [MAIL], id="without a line end at the end"),
        pytest.param(b"\n\n" + FROM + MAIL + b"\n", [MAIL], id="empty lines before"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(FROM + b"X: y\n\n", [b"X: y\n"], id="a header alone"),
        pytest.param(
            FROM + b"X: y\n\n" + OTHER + MAIL + b"\n", [b"X: y\n", MAIL], id="header, then another"
        ),
        pytest.param(
            FROM + MAIL + b"\nFrom what I hear\nNote: it is late\n\n",
            [MAIL + b"\nFrom what I hear\nNote: it is late\n"],
            id="a line without a date separates nothing",
        ),
        pytest.param(
            FROM + MAIL + OTHER + b"To: x\n\n",
            [MAIL + OTHER + b"To: x\n"],
            id="nor does one that comes after no empty line",
        ),
        pytest.param(
            FROM + MAIL + b"\nFrom Bob, Sat Mar 5 2011 05:06:07:\n> text\n\n",
            [MAIL + b"\nFrom Bob, Sat Mar 5 2011 05:06:07:\n> text\n"],
            id="nor one that no field comes after",
        ),
        pytest.param(
            b"From \nX: 1\n\na\n\nFrom - Fri Mar  4 05:06:07 2011\nX: 2\n\nb\n\nFrom \nX: 3\n\nc\n",
            [b"X: 1\n\na\n", b"X: 2\n\nb\n", b"X: 3\n\nc\n"],
            id="as Thunderbird writes them",
        ),
        pytest.param(
            b"From 17@xxx Fri Mar 04 05:06:07 +0000 2011\nX-Gmail-Labels: Inbox\n\na\n\n",
            [b"X-Gmail-Labels: Inbox\n\na\n"],
            id="as Takeout writes them",
        ),
        pytest.param(
            FROM.replace(b"\n", b"\r\n") + b"X: 1\r\n\r\na\r\n\r\n" + OTHER + b"X: 2\n\nb\n\n",
            [b"X: 1\r\n\r\na\r\n", b"X: 2\n\nb\n"],
            id="both line ends",
        ),
        pytest.param(FROM + b"X: 1\n\na\0\0\n\n", [b"X: 1\n\na\0\0\n"], id="NUL bytes"),
        pytest.param(
            FROM + MAIL + b"\n" + bytes(range(256)) * 9,
            [MAIL + b"\n" + bytes(range(256)) * 9 + b"\n"],
            id="half of it is none",
        ),
    ],
)
def test_messages_are_told_apart(box: Path, raw: bytes, messages: list[bytes]) -> None:
    assert contents(opened(box, raw)) == messages


def with_length(body: bytes, length: int) -> bytes:
    return b"Subject: x\nContent-Length: %d\n\n" % length + body


INSIDE = b"text\n\n" + OTHER + b"Subject: inside\n\nmore\n"


@pytest.mark.parametrize(
    ("length", "count"),
    [(len(INSIDE), 2), (len(INSIDE) - 1, 3), (10**9, 3), (0, 3), (5, 2)],
)
def test_a_content_length_counts_where_a_message_begins_at_its_end(
    box: Path, length: int, count: int
) -> None:
    raw = FROM + with_length(INSIDE, length) + b"\n" + OTHER + MAIL + b"\n"
    assert len(contents(opened(box, raw))) == (3 if length == 5 else count)


def test_a_content_length_that_a_stranger_wrote_hides_no_message_behind_it(box: Path) -> None:
    first, victim = FROM + MAIL + b"\n", OTHER + NEW + b"\n"
    reach = len(b"x\n\n") + len(victim) - 1
    lying = FROM + with_length(b"x\n", reach) + b"\n"
    assert contents(opened(box, first + lying + victim + first))[2] == NEW


@pytest.mark.parametrize("field", [b"", b"X-UID: 7\n"])
def test_what_a_content_length_hides_goes_with_no_message_that_is_replaced(
    box: Path, field: bytes
) -> None:
    victim = OTHER + NEW + b"\n"
    reach = len(b"x\n\n") + len(victim) - 1
    lying = FROM + field + with_length(b"x\n", reach) + b"\n"
    before = lying + victim + FROM + MAIL + b"\n"
    mailbox = opened(box, before)
    first, last = mailbox.walk("INBOX")
    body = BytesContent(NEW)
    changes = [Replace(one.ref, body, mailbox.fetch(one.ref).revision) for one in (first, last)]
    written = mailbox.write([(intent, body) for intent in mailbox.intend(changes)])
    assert [type(one) for one in written] == [MessageError, Written]
    placed = mailbox.place([one for one in written if isinstance(one, Written)])
    assert all_placed(mailbox.retire(all_placed(placed)))
    assert box.read_bytes() == before.replace(MAIL, NEW)


def test_a_line_before_the_next_separator_is_no_hidden_message(box: Path) -> None:
    body = b"text\n\n" + OTHER
    first = FROM + b"X-UID: 3\n" + with_length(body, len(body))
    mailbox = opened(box, first + FROM + MAIL + b"\n")
    assert len(contents(mailbox)) == 2
    replaced(mailbox, NEW, NEW)
    assert contents(opened(box)) == [NEW, NEW]


def test_a_content_length_that_was_wrong_does_not_come_to_say_how_a_file_is_read(
    box: Path,
) -> None:
    third = OTHER + MAIL + b"\n"
    second = OTHER + with_length(b"x\n", len(b"x\n\n") + len(third) - 1) + b"\n"
    mailbox = opened(box, FROM + with_length(b"y\n", 1) + b"\n" + second + third + third)
    before = contents(mailbox)
    assert len(before) == 4
    replaced(mailbox, NEW, None, None, None)
    assert contents(opened(box)) == [NEW, *before[1:]]


@pytest.mark.parametrize("size", [1 << 26, pytest.param(1 << 30, marks=pytest.mark.all_only)])
def test_a_message_without_any_separator_after_it_takes_no_memory(box: Path, size: int) -> None:
    with box.open("wb") as file:
        file.write(FROM + MAIL)
        file.truncate(size)
    tracemalloc.start()
    try:
        (listing,) = opened(box).walk("INBOX")
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert listing.size == size - len(FROM) + 1


# --- what is quoted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "content"),
    [
        (b">From me\n", b"From me\n"),
        (b">>From me\n>From you\n", b">From me\nFrom you\n"),
        (b"From me\n>From you\n", b"From me\n>From you\n"),
        (b" >From me\n", b" >From me\n"),
        (b">From me\r\n", b"From me\r\n"),
    ],
)
def test_quoting_is_undone(box: Path, stored: bytes, content: bytes) -> None:
    header = b"Subject: x\n>From header\n\n"
    assert contents(opened(box, FROM + header + stored + b"\n")) == [header + content]


def any_body(dice: random.Random, size: int) -> bytes:
    words = [b"From ", b">", b"\n", b"\n\n", b"\r\n", b"x", OTHER, b">From ", b"Subject: y\n"]
    return b"".join(dice.choices(words, k=size)) + b"\n"


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_is_read_back(box: Path, seed: int) -> None:
    dice = random.Random(seed)
    mailbox = opened(box, FROM + MAIL + b"\n" + OTHER + MAIL + b"\n")
    new = [b"Subject: z\n\n" + any_body(dice, dice.randrange(60)) for _ in range(2)]
    replaced(mailbox, *new)
    assert contents(opened(box)) == new


@pytest.mark.parametrize("marks", [999, 1000, 1001, 1003])
def test_a_message_that_an_mbox_cannot_hold_costs_itself_alone(box: Path, marks: int) -> None:
    mailbox = opened(box, FROM + MAIL + b"\n" + OTHER + MAIL + b"\n")
    new = [b"Subject: z\n\n" + b">" * marks + b"From me\n", NEW]
    listings = list(mailbox.walk("INBOX"))
    bodies = [BytesContent(raw) for raw in new]
    revision = BytesContent(MAIL).digest
    intents = mailbox.intend(
        [Replace(one.ref, body, revision) for one, body in zip(listings, bodies, strict=True)]
    )
    written = mailbox.write(list(zip(intents, bodies, strict=True)))
    placed = mailbox.place([one for one in written if isinstance(one, Written)])
    mailbox.retire([one for one in placed if isinstance(one, Placed)])
    first, second = contents(opened(box))
    assert first == (new[0] if isinstance(placed[0], Placed) else MAIL)
    assert second == NEW
    assert isinstance(placed[0], Placed) == (marks != 1000)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("over", [-2, -1, 0, 1])
def test_a_header_that_only_the_fields_of_programs_make_too_long_costs_its_message_alone(
    box: Path, end: bytes, over: int
) -> None:
    marks = b"Status: RO\n"
    mailbox = opened(box, FROM + marks + MAIL + b"\n" + OTHER + MAIL + b"\n")
    filling = b"y" * (form.HEADER_LIMIT - len(b"X: " + end + marks) + over)
    new = [b"X: " + filling + end + end + b"body\n", NEW]
    bodies = [BytesContent(raw) for raw in new]
    changes = [
        Replace(one.ref, body, BytesContent(MAIL).digest)
        for one, body in zip(mailbox.walk("INBOX"), bodies, strict=True)
    ]
    written = mailbox.write(list(zip(mailbox.intend(changes), bodies, strict=True)))
    placed = mailbox.place([one for one in written if isinstance(one, Written)])
    retired = mailbox.retire(all_placed(placed))
    first, second = contents(opened(box))
    assert first == (new[0] if isinstance(retired[0], Placed) else MAIL)
    assert isinstance(retired[0], Placed) == (over <= -2)
    assert second == NEW


def test_more_quoted_lines_than_the_limit_are_read_as_they_stand_and_take_no_memory(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "QUOTED_LIMIT", 100)
    message = b"Subject: x\n\n" + b">From me\n" * 1000
    assert contents(opened(box, FROM + message + b"\n")) == [message]
    with box.open("rb") as file:
        reader = Reader(file.fileno(), box.stat().st_size)
        assert len(layout.lay_out(reader, 0, None, by_length=False).ranges) <= 2


@pytest.mark.parametrize("size", [IN_MEMORY - 100, IN_MEMORY + 100])
def test_a_large_message_is_quoted_as_a_small_one_is(box: Path, size: int) -> None:
    filling = b"".join(b"From %d\n>From\n%s\n" % (n, b"x" * 5000) for n in range(size // 5000))
    mailbox = opened(box, FROM + MAIL + b"\n")
    content = b"Subject: z\n\n" + filling + b"y" * 3_000_000 + b"\nFrom me\n"
    replaced(mailbox, content)
    assert contents(opened(box)) == [content]
    assert box.read_bytes().count(b"\nFrom ") == 0


# --- whose which field is -----------------------------------------------------------------

MUTT = b"Status: RO\nX-Status: AF\nX-Keywords: work  \nX-UID: 7\n"
MOZILLA = (
    b"X-Mozilla-Status: 0005\nX-Mozilla-Status2: 00800000\n"
    b"X-Mozilla-Keys: work      home          \n"
)


@pytest.mark.parametrize(
    ("raw", "flags"),
    [
        (
            b"Subject: a\n" + MUTT + b"To: b\n\nx\n",
            Flags(frozenset({"seen", "answered", "flagged"}), frozenset({"work"})),
        ),
        (
            MOZILLA + b"Subject: a\nTo: b\n\nx\n",
            Flags(frozenset({"seen", "flagged"}), frozenset({"work", "home"})),
        ),
        (b"Subject: a\nTo: b\nStatus: O\n\nx\n", Flags()),
        (
            b"Subject: a\nTo: b\n" + MUTT + MOZILLA + b"\nx\n",
            Flags(frozenset({"seen", "flagged"}), frozenset({"work", "home"})),
        ),
    ],
)
def test_the_fields_of_programs_are_flags_and_stay_where_and_as_they_are(
    box: Path, raw: bytes, flags: Flags
) -> None:
    mailbox = opened(box, FROM + raw + b"\n")
    (listing,) = mailbox.walk("INBOX")
    assert contents(mailbox) == [b"Subject: a\nTo: b\n\nx\n"]
    assert listing.flags == mailbox.fetch(listing.ref).flags == flags
    replaced(mailbox, b"Subject: a\nTo: b\n\nanother\n")
    assert box.read_bytes() == FROM + raw.replace(b"\nx\n", b"\nanother\n") + b"\n"
    replaced(opened(box), b"Subject: a\nTo: b\n\nx\n")
    assert box.read_bytes() == FROM + raw + b"\n"


def test_a_content_length_says_the_new_length(box: Path) -> None:
    mailbox = opened(box, FROM + with_length(b"body\n", 5) + b"\n")
    replaced(mailbox, b"Subject: x\n\nFrom me, and longer\n")
    assert box.read_bytes() == FROM + with_length(b">From me, and longer\n", 21) + b"\n"


def test_the_data_of_an_imap_server_is_no_message_and_stays(box: Path) -> None:
    pseudo = (
        b"From MAILER-DAEMON Fri Mar  4 05:06:07 2011\n"
        b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n"
        b"X-IMAP: 1299215167 0000000002\nStatus: RO\n\nThis text is part of the format.\n\n"
    )
    mailbox = opened(box, pseudo + FROM + MAIL + b"\n")
    assert contents(mailbox) == [MAIL]
    replaced(mailbox, NEW)
    assert box.read_bytes() == pseudo + FROM + NEW + b"\n"


def test_all_else_stays_byte_for_byte(box: Path) -> None:
    strange = OTHER + b"X: y\r\n\nFrom here\n>From x\n\n\n\n\0\xff\n\n"
    mailbox = opened(box, b"\n" + strange + FROM + MAIL + b"\n" + strange[:-1])
    replaced(mailbox, None, NEW, None)
    assert box.read_bytes() == b"\n" + strange + FROM + NEW + b"\n" + strange[:-1]


def test_messages_that_are_the_same_in_every_byte_are_two(box: Path) -> None:
    mailbox = opened(box, (FROM + MAIL + b"\n") * 3)
    assert len({listing.ref for listing in mailbox.walk("INBOX")}) == 3
    replaced(mailbox, NEW, NEW, NEW)
    assert box.read_bytes() == (FROM + NEW + b"\n") * 3


def test_a_header_of_a_message_that_says_flags_is_not_written(box: Path) -> None:
    mailbox = opened(box, FROM + MAIL + b"\n")
    content = BytesContent(b"Subject: x\nStatus: RO\n\nbody")
    (intent,) = mailbox.intend([Add("Elsewhere", content, DATE)])
    (written,) = mailbox.write([(intent, content)])
    assert isinstance(written, Written)
    (placed,) = all_placed(mailbox.place([written]))
    assert mailbox.find([intent])[0].copies[0].ref == placed.ref
    assert contents(opened(box)) == [MAIL, b"Subject: x\n\nbody\n"]
    assert waiting_in(box) == []


def test_what_takes_the_place_of_a_message_is_durable_before_it_does(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kill tells: the system keeps what a process wrote."""
    done: list[str] = []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    mailbox = opened(box, FROM + MAIL + b"\n")
    monkeypatch.setattr(os, "fsync", synced)
    install(done.append)
    replaced(mailbox, NEW)
    install(None)
    acts = [name.rpartition(".")[2] if name.endswith(".part") else name for name in done]
    beside = ".box.sectool"

    def between(first: str, last: str) -> list[str]:
        return acts[acts.index(first) : acts.index(last)]

    assert "part" in between("mbox.write", "mbox.place.before")
    assert beside in between("mbox.place.after", "mbox.rewrite")
    assert "box" in between("mbox.rewrite", "mbox.keep.before")
    assert beside in between("mbox.keep.after", "mbox.exchange.before")
    assert {box.parent.name, beside} <= set(
        between("mbox.exchange.after", "mbox.discard-old.before")
    )


# --- where they lie -----------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    def make(**files: bytes) -> Path:
        for name, raw in files.items():
            path = tmp_path / "tree" / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        return tmp_path / "tree"

    return make


ONE = FROM + MAIL + b"\n"


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (
            {
                "Inbox": ONE,
                "Inbox_DOT_msf": b"",
                "Sent": b"",
                "Sent_DOT_msf": b"",
                "Work_DOT_sbd__2011": ONE,
                "filterlog_DOT_html": b"<p>",
                "msgFilterRules_DOT_dat": b"v",
            },
            ["INBOX", "Sent", "Work/2011"],
        ),
        (
            {
                "INBOX_DOT_mbox__mbox": ONE,
                "INBOX_DOT_mbox__table_of_contents": b"\0",
                "Work_DOT_mbox__Deep_DOT_mbox__mbox": ONE,
                "Work_DOT_mbox__mbox": ONE,
            },
            ["INBOX", "Work", "Work/Deep"],
        ),
        (
            {
                "Takeout__Mail__All mail Including Spam and Trash_DOT_mbox": ONE,
                "archive_browser_DOT_html": b"<",
            },
            ["Takeout/Mail/All mail Including Spam and Trash"],
        ),
        ({"mail__inbox": ONE, "inbox": ONE, "notes": b"From here on\n"}, ["INBOX", "mail/inbox"]),
    ],
)
def test_trees_of_programs_are_folders(
    tree: Callable[..., Path], files: dict[str, bytes], folders: list[str]
) -> None:
    root = tree(**files)
    assert list(opened(root).folders()) == folders
    assert mbox.recognises(root)


def test_what_leads_elsewhere_is_told_and_not_read(tree: Callable[..., Path]) -> None:
    root = tree(Inbox=ONE, ImapMail__host__INBOX=ONE)
    (root / "link").symlink_to(root / "Inbox")
    (root / "lock").symlink_to("127.0.0.1:+1")
    mailbox = opened(root)
    assert list(mailbox.folders()) == ["INBOX"]
    assert sorted(mailbox.passed_over) == ["ImapMail", "link"]


def test_a_cache_of_an_account_is_refused(tree: Callable[..., Path]) -> None:
    root = tree(ImapMail__imap_DOT_example_DOT_org__INBOX=ONE)
    with pytest.raises(NoSuchMailbox, match=r"a cache of imap\.example\.org") as told:
        opened(root / "ImapMail" / "imap.example.org" / "INBOX")
    assert told.value.hint == "run sectool on that account"


@pytest.mark.parametrize("raw", [b"hello\n", b"From here on\nall is well\n", b"\0" * 5000])
def test_another_file_is_no_mbox(box: Path, raw: bytes) -> None:
    box.write_bytes(raw)
    assert not mbox.recognises(box)
    with pytest.raises(NoSuchMailbox, match="is not an mbox"):
        opened(box)


def test_what_waited_for_a_folder_that_was_never_made_is_removed(
    tree: Callable[..., Path],
) -> None:
    root = tree(Inbox=ONE)
    content = BytesContent(MAIL)
    (intent,) = opened(root).intend([Add("Recovered", content, DATE)])
    assert isinstance(opened(root).write([(intent, content)])[0], Written)
    assert len(waiting_in(root)) == 1
    opened(root).abandon([intent])
    assert [path.name for path in root.iterdir()] == ["Inbox"]


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", ".hidden"])
def test_no_folder_is_made_where_a_name_leads_elsewhere(
    tree: Callable[..., Path], name: str
) -> None:
    root = tree(Inbox=ONE)
    content = BytesContent(MAIL)
    (intent,) = opened(root).intend([Add(name, content, DATE)])
    assert not isinstance(opened(root).write([(intent, content)])[0], Written)
    assert [path.name for path in root.parent.rglob("*")] == ["tree", "Inbox"]


def test_what_waits_for_another_file_in_the_same_directory_is_left(box: Path) -> None:
    other = box.with_name("other")
    mailbox = opened(other, ONE)
    content = BytesContent(NEW)
    (listing,) = mailbox.walk("INBOX")
    intents = mailbox.intend([Replace(listing.ref, content, BytesContent(MAIL).digest)])
    assert isinstance(mailbox.write([(intents[0], content)])[0], Written)
    with opened(box, ONE) as another, another.lock():
        another.settle([])
        another.abandon(intents)
    assert len(waiting_in(other)) == 1
