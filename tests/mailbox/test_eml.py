"""What is particular to trees of .eml files: odd names and files, exchanges that lose nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageError, MessageVanished, NoSpace, ReadOnlyMailbox
from sectool.mailbox import Intent, Mailbox, MailboxSpecification, Placed, Written, open_mailbox
from sectool.message import BytesContent, Flags, MessageRef
from tests.support import crash
from tests.support.eml_world import EmlWorld
from tests.support.mailbox_contract import (
    DATE,
    NEW,
    OLD,
    World,
    add,
    bodies,
    intend,
    place,
    write,
)
from tests.support.mounts import Mount

USERS = b"Subject: old\n\nas its owner made it\n"
NOBODY = 65534


@pytest.fixture
def world(tmp_path: Path) -> EmlWorld:
    return EmlWorld(tmp_path / "mail")


@pytest.fixture
def mailbox(world: EmlWorld) -> Mailbox:
    return open_mailbox(world.specification)


def walked(mailbox: Mailbox) -> list[MessageRef]:
    return [listing.ref for folder in mailbox.folders() for listing in mailbox.walk(folder)]


# --- names and odd files -----------------------------------------------------------------------

NAMES = {
    "plain": b"a.eml",
    "upper case": b"A.EML",
    "spaces": b" a b .eml",
    "newline": b"a\nb.eml",
    "not UTF-8": b"a\xffb.eml",
    "percent": b"a%FFb.eml",
    "leading dash": b"-rf.eml",
    "terminal escape": b"\x1b[2J.eml",
    "as a Maildir names it": b"1.host:2,S.eml",
    "long": b"x" * 251 + b".eml",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_message_keeps_its_name_whatever_that_is(
    world: EmlWorld, mailbox: Mailbox, name: bytes
) -> None:
    folder = world.directory("Sub")
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))  # noqa: PTH118
    path.write_bytes(OLD)
    (ref,) = walked(mailbox)
    assert str(ref).isprintable()
    (answer,) = mailbox.retire(place(mailbox, [ref]))
    assert isinstance(answer, Placed)
    assert [(found, found.read_bytes()) for found in folder.iterdir()] == [(path, NEW)]


def test_names_that_differ_in_case_only_are_two_messages(world: EmlWorld, mailbox: Mailbox) -> None:
    for folder in ("Sub", "sub"):
        for name in ("a.eml", "A.eml", "a.EML"):
            (world.directory(folder) / name).write_bytes(OLD)
    refs = walked(mailbox)
    assert len(set(refs)) == 6
    assert all(isinstance(answer, Placed) for answer in mailbox.retire(place(mailbox, refs)))
    assert bodies(world) == [NEW] * 6


def test_what_is_no_message_is_passed_over_and_what_may_be_mail_is_told(
    world: EmlWorld, mailbox: Mailbox, tmp_path: Path
) -> None:
    world.deliver("INBOX", OLD)
    elsewhere = world.directory("../elsewhere")
    (elsewhere / "x.eml").write_bytes(OLD)
    (world.root / "link.eml").symlink_to(elsewhere / "x.eml")
    (world.root / "folder").symlink_to(elsewhere)
    os.mkfifo(world.root / "fifo.eml")
    (world.root / "directory.eml").mkdir()
    (world.root / "directory.eml" / "x.eml").write_bytes(OLD)
    (world.root / "Sub" / "cur").mkdir(parents=True)
    (world.root / "Sub" / "new").mkdir()
    (world.root / "Sub" / "cur" / "x.eml").write_bytes(OLD)
    for name in (".hidden.eml", "._1.eml", "1.msg", "1.emlx", "all.mbox", "notes.txt", "eml", ".x"):
        (world.root / name).write_bytes(OLD)
    assert len(walked(mailbox)) == 1
    told = {path.removeprefix("INBOX/") for path in mailbox.passed_over}
    assert told == {
        *("link.eml", "folder", "fifo.eml", "directory.eml", "Sub/cur"),
        *(".hidden.eml", "1.msg", "1.emlx", "all.mbox"),
    }
    with pytest.raises(MessageVanished):
        mailbox.fetch(MessageRef("INBOX", "../elsewhere/x.eml"))


@pytest.mark.rights
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_is_led_to_nobody_elses_message(world: EmlWorld, mailbox: Mailbox) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    os.chown(world.root, NOBODY, NOBODY)
    os.chown(world.path(refs[0]), NOBODY, NOBODY)
    with pytest.raises(MessageError, match="so root leaves it"):
        mailbox.fetch(refs[1])
    (answer,) = mailbox.retire(place(mailbox, refs[:1]))
    assert isinstance(answer, Placed)
    status = world.path(refs[0]).stat()
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)


def test_times_mode_and_attributes_come_along(world: EmlWorld, mailbox: Mailbox) -> None:
    ref = world.deliver("INBOX", OLD)
    path = world.path(ref)
    path.chmod(0o640)
    os.setxattr(path, "user.origin", b"export")
    before = path.stat()
    mailbox.retire(place(mailbox, [ref]))
    after = path.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert after.st_ino != before.st_ino
    assert os.getxattr(path, "user.origin") == b"export"


def test_a_second_name_of_a_message_is_a_message_of_its_own(
    world: EmlWorld, mailbox: Mailbox
) -> None:
    ref = world.deliver("INBOX", OLD)
    (world.root / "second.eml").hardlink_to(world.path(ref))
    assert len(walked(mailbox)) == 2
    mailbox.retire(place(mailbox, [ref]))
    assert bodies(world) == [NEW, OLD]


def test_flags_are_neither_there_nor_made(world: EmlWorld, mailbox: Mailbox) -> None:
    ref = world.deliver("INBOX", OLD)
    assert mailbox.fetch(ref).flags == Flags()
    (placed,) = place(mailbox, [ref])
    assert placed.written.flags == Flags()


def test_a_full_disk_leaves_the_old_and_nothing_else(tmp_path: Path, mount: Mount) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "none", at=disk)
    world = EmlWorld(disk / "mail")
    refs = [world.deliver("INBOX", OLD) for _ in range(4)]
    mailbox = open_mailbox(world.specification)
    raw = b"X: y\n\n" + b"x" * 700_000
    with pytest.raises(NoSpace):
        mailbox.write([(entry, BytesContent(raw)) for entry in intend(mailbox, refs, raw)])
    assert bodies(world) == [OLD] * 4
    assert world.hidden() == 0
    assert all(isinstance(answer, Placed) for answer in mailbox.retire(place(mailbox, refs)))


# --- what its owner does meanwhile ---------------------------------------------------------------


def save(path: Path) -> None:
    """As an editor does that writes another file first."""
    other = path.with_name("draft.tmp")
    other.write_bytes(USERS)
    other.replace(path)


ACTS: dict[str, tuple[Callable[[Path], object], list[list[bytes]]]] = {
    "edits": (lambda path: path.write_bytes(USERS), [[USERS]]),
    "saves": (save, [[USERS]]),
    "removes": (Path.unlink, [[]]),
    "renames": (lambda path: path.rename(path.with_name("kept.eml")), [[OLD], [NEW]]),
    "touches": (os.utime, [[OLD], [NEW]]),
}
"""What the owner does, and what there may be afterwards."""


@contextmanager
def hooked(act: Callable[[int], object]) -> Iterator[list[str]]:
    """Acts at each point that is passed, with its number, counted from 0."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        act(len(passed) - 1)

    install(hook)
    try:
        yield passed
    finally:
        install(None)


def replace_intended(mailbox: Mailbox, intended: list[Intent]) -> bool:
    """Whether the one new copy came in."""
    written = mailbox.write([(intent, BytesContent(NEW)) for intent in intended])
    placed = mailbox.place([copy for copy in written if isinstance(copy, Written)])
    answers = mailbox.retire([copy for copy in placed if isinstance(copy, Placed)])
    return any(isinstance(answer, Placed) for answer in answers)


def replace_once(world: EmlWorld, ref: MessageRef) -> None:
    """Replaces a message, and gives up what did not come in, as the engine does."""
    mailbox = open_mailbox(world.specification)
    intended = intend(mailbox, [ref])
    if not replace_intended(mailbox, intended):
        mailbox.abandon(intended)


def points_of(world: EmlWorld) -> list[str]:
    """Names of the points that a replacement passes."""
    ref = world.deliver("Sub", OLD)
    with hooked(lambda _: None) as passed:
        replace_once(world, ref)
    world.remove(ref)
    return passed


def act_at(wanted: int, do: Callable[[Path], object], path: Path, number: int) -> None:
    if number == wanted:
        do(path)


def empty(directory: Path) -> None:
    for left in directory.iterdir():
        left.unlink()


@pytest.mark.parametrize("act", ACTS)
def test_what_the_owner_does_at_any_point_is_kept(world: EmlWorld, act: str) -> None:
    do, allowed = ACTS[act]
    points = points_of(world)
    assert len(points) > 10
    for wanted in range(len(points)):
        ref = world.deliver("Sub", OLD)
        path = world.path(ref)
        with hooked(partial(act_at, wanted, do, path)) as passed:
            replace_once(world, ref)
        assert bodies(world) in allowed, passed[wanted]
        assert world.hidden() == 0, passed[wanted]
        empty(path.parent)


@pytest.mark.parametrize("act", ["edits", "saves"])
def test_an_edit_that_came_out_is_put_back_after_a_kill(
    world: EmlWorld, act: str, whole: bool
) -> None:
    """Budget: 1 second, of all pairs of points 25."""
    do, allowed = ACTS[act]
    names = points_of(world)
    pairs = [
        (edited, killed)
        for edited in range(len(names))
        for killed in range(edited, len(names) + 4)  # to put back passes further points
        if whole or names[edited] == "eml.retire.before"
    ]
    kills = 0
    for edited, killed in pairs:
        path = world.path(world.deliver("Sub", OLD))
        mailbox = open_mailbox(world.specification)
        intended = intend(mailbox, [MessageRef("Sub", path.name)])

        def meanwhile(number: int, at: tuple[int, int, Path] = (edited, killed, path)) -> None:
            act_at(at[0], do, at[2], number)
            if number == at[1]:
                os.kill(os.getpid(), signal.SIGKILL)

        if crash.in_child(partial(replace_hooked, mailbox, intended, meanwhile)) < 0:
            kills += 1
            resume(world, intended)
            assert bodies(world) in allowed, (edited, killed)
            assert world.hidden() == 0, (edited, killed)
        empty(path.parent)
    assert kills > len(pairs) / 2


def replace_hooked(
    mailbox: Mailbox, intended: list[Intent], meanwhile: Callable[[int], object]
) -> None:
    with hooked(meanwhile):
        replace_intended(mailbox, intended)


def resume(world: EmlWorld, intended: list[Intent]) -> None:
    """What the engine does with the intents that it finds."""
    mailbox = open_mailbox(world.specification)
    with mailbox.lock():
        mailbox.settle(intended)
        (where,) = mailbox.find(intended)
        answers = mailbox.retire(where.copies) if where.old_present else []
        if not (answers and isinstance(answers[0], Placed)):
            mailbox.abandon(intended)


def test_what_took_the_name_after_the_exchange_and_what_came_out_are_both_kept(
    world: EmlWorld, mailbox: Mailbox
) -> None:
    ref = world.deliver("INBOX", OLD)
    path = world.path(ref)
    placed = place(mailbox, [ref])
    waiting = ["eml.retire.before", "eml.put-back.before"]

    def hook(name: str) -> None:
        if name in waiting:
            waiting.remove(name)
            other = path.with_name("other")
            other.write_bytes(USERS + b"!" * len(waiting))
            other.replace(path)

    install(hook)
    try:
        (answer,) = mailbox.retire(placed)
    finally:
        install(None)
    assert not waiting
    assert isinstance(answer, MessageError)
    mailbox.abandon([placed[0].written.intent])
    assert bodies(world) == [USERS, USERS + b"!"]
    assert world.hidden() == 0


def test_an_addition_never_takes_a_name_that_is_taken(world: EmlWorld, mailbox: Mailbox) -> None:
    placed = mailbox.place([*add(mailbox, "INBOX"), *add(mailbox, "INBOX")])
    names = {copy.ref.key for copy in placed if isinstance(copy, Placed)}
    assert len(names) == 2
    assert all(name.endswith(".eml") for name in names)


class _OldSystem:
    """A C library without the call."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


def test_a_system_that_cannot_exchange_names_replaces_nothing(
    world: EmlWorld, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = world.deliver("INBOX", OLD)
    placed = place(mailbox, [ref])
    monkeypatch.setattr(ctypes, "CDLL", _OldSystem)
    with pytest.raises(ReadOnlyMailbox, match="cannot exchange two names") as caught:
        mailbox.retire(placed)
    assert "ext4" in caught.value.hint
    assert bodies(world) == [OLD]
    assert world.hidden() == 0


# --- many ----------------------------------------------------------------------------------------


def test_a_walk_takes_no_longer_than_that_of_a_maildir(
    world: EmlWorld, maildir: World, mailbox: Mailbox
) -> None:
    number = 1000
    cur = Path(maildir.specification.location) / "cur"
    for one in range(number):
        (world.root / f"{one}.eml").touch()
        (cur / f"{one}.host:2,S").touch()
    time.sleep(0.03)  # else both are read again and again

    def effort(box: Mailbox) -> float:
        list(box.walk("INBOX"))
        start = time.process_time()
        assert len(list(box.walk("INBOX"))) == number
        return time.process_time() - start

    other = open_mailbox(maildir.specification)
    by_turns = [(effort(mailbox), effort(other)) for _ in range(9)]
    mine, theirs = map(min, zip(*by_turns, strict=True))
    assert mine < 1.5 * theirs


def test_a_folder_that_vanishes_costs_its_messages_alone(world: EmlWorld, mailbox: Mailbox) -> None:
    gone, stays = world.deliver("Sub", OLD), world.deliver("INBOX", OLD)
    intended = intend(mailbox, [gone, stays])
    subprocess.run(["rm", "-r", str(world.directory("Sub"))], check=True)
    answers = mailbox.write([(intent, BytesContent(NEW)) for intent in intended])
    assert isinstance(answers[0], MessageVanished)
    placed = mailbox.place([answer for answer in answers if isinstance(answer, Written)])
    assert all(
        isinstance(answer, Placed)
        for answer in mailbox.retire([p for p in placed if isinstance(p, Placed)])
    )


# --- Apple Mail's ------------------------------------------------------------------------------

PROPERTIES = b"""<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
\t<key>date-received</key>\n\t<integer>1299215167</integer>
\t<key>flags</key>\n\t<integer>%d</integer>
</dict></plist>
"""


def emlx(raw: bytes, flags: int = 1) -> bytes:
    return b"%-10d\n" % len(raw) + raw + PROPERTIES % flags


@pytest.fixture
def apple(tmp_path: Path) -> Path:
    root = tmp_path / "V10" / "INBOX.mbox" / "Messages"
    root.mkdir(parents=True)
    (root / "1.emlx").write_bytes(emlx(OLD, 0b1_0001))
    (root / "2.partial.emlx").write_bytes(emlx(OLD))
    (root / "3.eml").write_bytes(OLD)
    return tmp_path / "V10"


def test_an_emlx_file_is_the_message_that_it_counts_and_its_flags(apple: Path) -> None:
    mailbox = open_mailbox(MailboxSpecification("emlx", str(apple)))
    assert list(mailbox.folders()) == ["INBOX", "INBOX.mbox", "INBOX.mbox/Messages"]
    (listing,) = mailbox.walk("INBOX.mbox/Messages")
    stored = mailbox.fetch(listing.ref)
    with stored.content.open() as stream:
        assert stream.read() == OLD
    assert stored.flags == listing.flags == Flags(frozenset({"seen", "flagged"}))
    assert (listing.size, stored.internal_date) == (len(OLD), DATE)
    assert (mailbox.head(listing.ref, 5).raw, mailbox.head(listing.ref, 500).raw) == (OLD[:5], OLD)
    assert mailbox.open_file(listing.ref) is None
    assert {path.rpartition("/")[2] for path in mailbox.passed_over} == {"2.partial.emlx", "3.eml"}


def test_a_large_message_of_an_emlx_file_is_read_without_what_follows(apple: Path) -> None:
    raw = OLD + b"x" * 9_000_000
    path = apple / "INBOX.mbox" / "Messages" / "1.emlx"
    path.write_bytes(emlx(raw))
    mailbox = open_mailbox(MailboxSpecification("emlx", str(apple)))
    stored = mailbox.fetch(MessageRef("INBOX.mbox/Messages", "1.emlx"))
    assert stored.revision == BytesContent(raw).digest
    with stored.content.open() as stream:
        assert stream.read() == raw


@pytest.mark.parametrize(
    "raw",
    [b"", b"x\n" + OLD, b"99999 \n" + OLD, b"-5\n" + OLD, b"9" * 40 + b"\n", b"5" + OLD, b"12"],
)
def test_an_emlx_file_whose_count_lies_costs_itself_alone(apple: Path, raw: bytes) -> None:
    (apple / "bad.emlx").write_bytes(raw)
    mailbox = open_mailbox(MailboxSpecification("emlx", str(apple)))
    (listing,) = mailbox.walk("INBOX")
    with pytest.raises(MessageError, match="bytes"):
        mailbox.fetch(listing.ref)
    assert len(list(mailbox.walk("INBOX.mbox/Messages"))) == 1


def test_apple_mails_files_are_not_written(apple: Path) -> None:
    mailbox = open_mailbox(MailboxSpecification("emlx", str(apple)))
    (listing,) = mailbox.walk("INBOX.mbox/Messages")
    with pytest.raises(ReadOnlyMailbox, match="Apple Mail") as caught:
        write(mailbox, [listing.ref])
    assert ".mbox" in caught.value.hint
