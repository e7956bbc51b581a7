"""The store writes to a real server: what it refuses, what others do meanwhile, answers that go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sectool import crashpoints
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSpace,
    ReadOnlyMailbox,
    ServerUnavailable,
)
from sectool.hardening import Secret
from sectool.mailbox import (
    Credentials,
    Mailbox,
    MailboxSpecification,
    Merge,
    Placed,
    Written,
    open_mailbox,
    retrying,
)
from sectool.mailbox.imap import appending
from sectool.mailbox.imap.appending import Outgoing
from sectool.mailbox.imap.fetched import date_of, date_text
from sectool.message import BytesContent, Flags, MessageRef
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import ON_LOOPBACK, IMAPWorld
from tests.support.mailbox_contract import (
    DATE,
    DELETED,
    FLAGGED,
    NEW,
    OLD,
    SEEN,
    Seen,
    add,
    all_placed,
    bodies,
    intend,
    place,
    write,
)
from tests.support.rewriting_proxy import RewritingProxy, rewriting

LIMITS = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=40K
}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.05,) * 5)


@pytest.fixture(scope="module")
def proxy(dovecot: Dovecot) -> Iterator[RewritingProxy]:
    with rewriting(dovecot.port) as between:
        yield between


@pytest.fixture(autouse=True)
def _says_nothing_else(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "proxy" in request.fixturenames:
        between = request.getfixturevalue("proxy")
        between.told.clear()
        between.loses.clear()
        between.asked.clear()


@pytest.fixture
def mailbox(world: IMAPWorld) -> Mailbox:
    return world.opened()


def through(proxy: RewritingProxy, world: IMAPWorld, **changes: bool) -> Mailbox:
    place = MailboxSpecification("imap", f"//{world.user}@127.0.0.1:{proxy.port}/")
    account = replace(ON_LOOPBACK, **changes)  # type: ignore[arg-type]  # each is a bool
    return open_mailbox(place, Credentials(world.user, Secret("secret")), account)


# --- what goes over the wire ---------------------------------------------------------------------


def test_lines_of_a_message_are_no_commands_whatever_the_server_refuses(
    world: IMAPWorld, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = world.deliver("INBOX", OLD)
    raw = b"Subject: x\n\nA1 CREATE Evil\nA2 CREATE Worse\n"
    (intent,) = intend(mailbox, [ref], raw)
    # No flag of the protocol: this server refuses it, and does not read on.
    intent = replace(intent, flags=Flags(frozenset({"invented"})))
    monkeypatch.setattr("sectool.mailbox.imap.opening.OpenFolder.not_kept", lambda *_: Flags())
    (written,) = mailbox.write([(intent, BytesContent(raw))])
    assert isinstance(written, Written)
    (answer,) = mailbox.place([written])
    assert isinstance(answer, MessageError)
    assert list(mailbox.folders()) == ["INBOX"]
    assert bodies(world) == [OLD]


def test_many_come_by_one_command_with_the_flags_and_dates_of_each(
    world: IMAPWorld, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    command = appending._command

    def counted(wire: bytes, messages: Sequence[Outgoing], *, is_awaited: bool) -> Any:
        sent.append(len(messages))
        return command(wire, messages, is_awaited=is_awaited)

    monkeypatch.setattr(appending, "_command", counted)
    kinds = [SEEN, FLAGGED, Flags(SEEN.system, frozenset({"$Forwarded", "Work"})), Flags()]
    dates = [DATE + timedelta(days=number) for number in range(40)]
    dates[7] = dates[7].astimezone(timezone(-timedelta(hours=9, minutes=30)))
    refs = [
        world.deliver("INBOX", OLD, flags=kinds[number % 4], date=date)
        for number, date in enumerate(dates)
    ]
    before = [(seen.flags, seen.date) for seen in world.seen()]
    answers = mailbox.retire(place(mailbox, refs))
    assert all(isinstance(answer, Placed) for answer in answers)
    assert [seen.raw for seen in world.seen()] == [NEW] * 40
    assert sorted(map(str, before)) == sorted(str((seen.flags, seen.date)) for seen in world.seen())
    assert sent[:4] == [1, 1, 1, 1]
    assert sent[4:] == [36]


def test_what_cannot_be_sent_costs_its_message_alone(world: IMAPWorld, mailbox: Mailbox) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    intents = intend(mailbox, refs)
    answers = mailbox.write(
        [(intents[0], BytesContent(b"X: y\n\n\0")), (intents[1], BytesContent(NEW))]
    )
    assert [type(answer) for answer in answers] == [MessageError, Written]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_end_as_the_protocol_has_it(
    end: bytes, world: IMAPWorld, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "COPY_BLOCK", 7)
    raw = NEW.replace(b"\n", end) + b"and a \rreturn" + end * 3
    (placed,) = place(mailbox, [world.deliver("INBOX", OLD)])
    (written,) = write(mailbox, [placed.ref], raw)
    (answer,) = mailbox.place([written])
    assert isinstance(answer, Placed)
    with mailbox.fetch(answer.ref).content.open() as stream:
        assert stream.read() == raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("hours", [0, -12, 5.75, 14])
def test_a_date_is_written_as_it_is_read(hours: float) -> None:
    date = datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=hours)))
    read = date_of(date_text(date).encode())
    assert read is not None
    assert (read, read.utcoffset()) == (date, date.utcoffset())


# --- what a server refuses -----------------------------------------------------------------------


def test_a_keyword_that_a_folder_cannot_keep_leaves_the_message(
    world: IMAPWorld, proxy: RewritingProxy
) -> None:
    proxy.told[rb"(PERMANENTFLAGS [^)]*?)[^ (]*Work ?([^)]*?) ?\\\*\)"] = rb"\1\2)"
    odd = Flags(frozenset({"seen"}), frozenset({"Work"}))
    refs = [world.deliver("INBOX", OLD, flags=flags) for flags in (odd, SEEN)]
    with through(proxy, world) as mailbox:
        answers = mailbox.write([(one, BytesContent(NEW)) for one in intend(mailbox, refs)])
    assert [type(answer) for answer in answers] == [MessageError, Written]
    assert "Work" in str(answers[0])
    with through(proxy, world, drop_keywords=True) as mailbox:
        mailbox.retire(place(mailbox, refs))
    assert [(seen.raw, seen.flags) for seen in world.seen()] == [(NEW, SEEN)] * 2


def test_flags_that_a_server_forgets_are_set_again(world: IMAPWorld, proxy: RewritingProxy) -> None:
    ref = world.deliver("INBOX", OLD, flags=FLAGGED)
    proxy.told[rb'"name" "[^"]*"'] = rb'"name" "nobody knows"'
    with through(proxy, world) as mailbox:
        written = write(mailbox, [ref])
        # The first look says that one is missing.
        proxy.told[rb"FLAGS \(\\Flagged \\Seen[^)]*\)"] = rb"FLAGS (\\Seen)"
        (placed,) = all_placed(mailbox.place(written))
        proxy.told.clear()
        mailbox.retire([placed])
    assert [seen.flags for seen in world.seen()] == [FLAGGED]


def test_a_full_quota_is_told_before_anything_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = NEW + b"x" * 15_000 + b"\n"
    with running_dovecot(settings=LIMITS) as server:
        world = IMAPWorld(server, "alice")
        refs = [world.deliver("INBOX", OLD + b"y" * 10_000 + b"\n") for _ in range(3)]
        mailbox = world.opened()
        with pytest.raises(NoSpace, match="45"):
            mailbox.write([(one, BytesContent(large)) for one in intend(mailbox, refs, large)])
        monkeypatch.setattr("sectool.mailbox.imap.account.require_room", lambda *_: None)
        written = write(mailbox, refs, large)
        with pytest.raises(NoSpace):
            mailbox.place(written)
        assert all(old in bodies(world) for old in [OLD + b"y" * 10_000 + b"\n"])
        world.close()


# --- answers that are lost, or wrong -------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_a_copy_whose_answer_was_lost_is_found_and_not_made_twice(
    count: int, world: IMAPWorld, proxy: RewritingProxy
) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(count)]
    with through(proxy, world) as mailbox:
        written = write(mailbox, refs)
        proxy.loses.append(rb"body")
        with pytest.raises(ServerUnavailable):
            mailbox.place(written)
        assert proxy.loses == []
        found = mailbox.find([copy.intent for copy in written])
        assert all(where.old_present for where in found)
        assert len({copy.ref for where in found for copy in where.copies}) == 1
    assert bodies(world) == [NEW] + [OLD] * count


@pytest.mark.parametrize(
    "instead",
    [b"OK", b"OK [APPENDUID 5 7]", b"OK [APPENDUID 0 0]", b"OK [APPENDUID x", b"OK [UIDNEXT 5]"],
)
def test_an_answer_that_does_not_say_where_a_copy_is_is_not_believed(
    instead: bytes, world: IMAPWorld, proxy: RewritingProxy
) -> None:
    ref = world.deliver("INBOX", OLD)
    with through(proxy, world) as mailbox:
        written = write(mailbox, [ref])
        proxy.told[rb"OK \[APPENDUID [^]]*\]"] = instead
        with pytest.raises(ServerUnavailable):
            mailbox.place(written)
        (where,) = mailbox.find([written[0].intent])
        (copy,) = where.copies
        (answer,) = mailbox.retire([copy])
    assert isinstance(answer, Placed)
    assert bodies(world) == [NEW]


@pytest.mark.parametrize("command", [rb"UID STORE", rb"UID EXPUNGE"])
def test_an_old_copy_that_was_being_removed_is_removed_by_the_next_run(
    command: bytes, world: IMAPWorld, proxy: RewritingProxy
) -> None:
    ref = world.deliver("INBOX", OLD, flags=FLAGGED)
    told: list[Merge] = []
    with through(proxy, world) as mailbox:
        (placed,) = place(mailbox, [ref])
        proxy.loses.append(command)
        with pytest.raises(ServerUnavailable):
            mailbox.retire([placed], told.extend)
        intent = replace(placed.written.intent, flags=told[-1].base, told=told[-1].old)
        (where,) = mailbox.find([intent])
        assert placed.ref in [copy.ref for copy in where.copies]
        if where.old_present:
            mailbox.retire([copy for copy in where.copies if copy.ref == placed.ref], told.extend)
    assert world.seen() == [Seen("INBOX", NEW, FLAGGED, DATE)]


def test_a_mark_that_an_earlier_run_left_goes_with_its_new_copy(
    world: IMAPWorld, mailbox: Mailbox
) -> None:
    ref = world.deliver("INBOX", OLD)
    (placed,) = place(mailbox, [ref])
    world.remove(placed.ref)
    world.set_flags(ref, DELETED)
    marked = replace(placed.written.intent, told=SEEN.marked)
    told: list[Merge] = []
    (answer,) = mailbox.retire([replace(placed, written=Written.as_intended(marked))], told.extend)
    assert isinstance(answer, MessageVanished)
    assert [merge.old.deleted for merge in told] == [False]
    assert world.seen() == [Seen("INBOX", OLD, SEEN, DATE)]


@pytest.mark.parametrize("command", ["STORE", "EXPUNGE"])
def test_where_a_server_removes_nothing_the_new_copies_go(
    command: str, world: IMAPWorld, proxy: RewritingProxy
) -> None:
    refs = [world.deliver("INBOX", OLD, flags=FLAGGED) for _ in range(2)]
    with through(proxy, world) as mailbox:
        placed = place(mailbox, refs)
        asked = f"UID {command} ([0-9:,]+)[^\r]*".encode()
        proxy.asked.append((asked, rb"UID COPY \1 Nowhere"))
        with pytest.raises(ReadOnlyMailbox, match=command):
            mailbox.retire(placed)
    assert world.seen() == [Seen("INBOX", OLD, FLAGGED, DATE)] * 2


def test_only_what_was_replaced_is_expunged(world: IMAPWorld, mailbox: Mailbox) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    others = world.deliver("INBOX", OLD + b"another\n", flags=DELETED)
    mailbox.retire(place(mailbox, refs))
    mailbox.close()
    assert Seen("INBOX", OLD + b"another\n", DELETED, DATE) in world.seen()
    assert others is not None


# --- what others do meanwhile --------------------------------------------------------------------

Act = Callable[[IMAPWorld, MessageRef, MessageRef], object]
MARKED = Flags(frozenset({"seen", "answered", "deleted"}))


ANSWERED = Flags(frozenset({"seen", "answered"}))
MEANWHILE: dict[str, tuple[Act, list[tuple[bytes, Flags]], type[MessageError] | None]] = {
    "flagged": (lambda world, old, _: world.set_flags(old, FLAGGED), [(NEW, FLAGGED)], None),
    "new deleted": (
        lambda world, _, new: world.set_flags(new, MARKED),
        [(NEW, MARKED), (OLD, ANSWERED)],
        MessageChanged,
    ),
    "old deleted": (
        lambda world, old, _: world.set_flags(old, MARKED),
        [(NEW, ANSWERED), (OLD, MARKED)],
        MessageChanged,
    ),
}
POINTS = ("imap.flag.before", "imap.mark.before", "imap.mark.after")


@pytest.mark.parametrize(
    ("point", "what"),
    # Nobody can tell two marks on one copy apart.
    [case for case in itertools.product(POINTS, MEANWHILE) if case != (POINTS[2], "old deleted")],
)
def test_what_another_client_does_while_the_old_copy_goes_is_kept(
    point: str, what: str, world: IMAPWorld, mailbox: Mailbox
) -> None:
    act, state, error = MEANWHILE[what]
    ref = world.deliver("INBOX", OLD)
    (placed,) = place(mailbox, [ref])
    world.set_flags(ref, ANSWERED)  # so that there is one to carry
    told: list[Merge] = []

    def hook(name: str) -> None:
        if name == point:
            crashpoints.install(None)
            act(world, ref, placed.ref)

    crashpoints.install(hook)
    try:
        (answer,) = mailbox.retire([placed], told.extend)
    finally:
        crashpoints.install(None)
    assert [(seen.raw, seen.flags) for seen in world.seen()] == state
    if error is not None:
        assert isinstance(answer, error)
        assert not told[-1].old.deleted


def test_numbers_that_a_folder_gives_to_others_meanwhile_are_not_acted_on(
    world: IMAPWorld, mailbox: Mailbox
) -> None:
    refs = [world.deliver(folder, OLD) for folder in ("Archive", "Sent")]
    placed = place(mailbox, refs)

    def hook(name: str) -> None:
        # Of the first folder; the second was looked at, and is open no more.
        if name == "imap.expunge.after":
            crashpoints.install(None)
            world.make_anew("Sent")

    crashpoints.install(hook)
    try:
        with pytest.raises(ServerUnavailable, match="made anew"):
            mailbox.retire(placed)
    finally:
        crashpoints.install(None)
    left = [(seen.folder, seen.raw, seen.flags) for seen in world.seen()]
    assert left == [("Archive", NEW, SEEN), ("Sent", NEW, SEEN), ("Sent", OLD, SEEN)]


# --- where nothing is written --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [("IMAP4rev1 LITERAL+", "UIDPLUS"), ("IMAP4rev1 UIDPLUS X-GM-EXT-1", "Gmail")],
)
def test_a_server_that_cannot_remove_one_message_alone_is_not_written_to(
    capabilities: str, reason: str, proxy: RewritingProxy, world: IMAPWorld
) -> None:
    proxy.told[rb"CAPABILITY IMAP4rev1 [^]\r]*"] = b"CAPABILITY " + capabilities.encode()
    with through(proxy, world) as mailbox:
        with pytest.raises(ReadOnlyMailbox, match=reason):
            mailbox.require_writable()
        with pytest.raises(ReadOnlyMailbox):
            add(mailbox, "Recovered")


def test_without_numbers_of_changes_the_same_holds(proxy: RewritingProxy, world: IMAPWorld) -> None:
    proxy.told[rb"CONDSTORE QRESYNC "] = b""
    proxy.told[rb"UNCHANGEDSINCE"] = b"x"
    ref = world.deliver("INBOX", OLD)
    with through(proxy, world) as mailbox:
        (placed,) = place(mailbox, [ref])
        world.set_flags(ref, FLAGGED)
        mailbox.retire([placed])
    assert world.seen() == [Seen("INBOX", NEW, FLAGGED, DATE)]
