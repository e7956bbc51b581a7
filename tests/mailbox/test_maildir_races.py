"""A Maildir is read and written while other programs deliver, flag, move and remove."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageError
from sectool.mailbox import Placed, open_mailbox
from sectool.message import MessageRef
from tests.support.mailbox_contract import DELETED, FLAGGED, NEW, OLD, SEEN, World, place

MESSAGES = 3000
"""More names than one system call returns, so that a reading can miss one."""

RENAMING = """
import itertools, os, pathlib, sys
root = pathlib.Path(sys.argv[1])
letters = itertools.cycle(["", "S", "FS", "RS", "FRS"])
print("ready", flush=True)
for number in itertools.count():
    for name in os.listdir(root / "cur"):
        base = name.partition(":2,")[0]
        try:
            os.rename(root / "cur" / name, root / "cur" / f"{base}:2,{next(letters)}")
        except FileNotFoundError:
            pass
    for extra in range(20):
        name = f"9.M{number}Q{extra}.delivered"
        (root / "tmp" / name).write_bytes(b"Subject: late\\n\\n")
        os.rename(root / "tmp" / name, root / "new" / name)
        os.rename(root / "new" / name, root / "cur" / f"{name}:2,")
        os.unlink(root / "cur" / f"{name}:2,")
"""

MOVING_IN = """
import os, pathlib, sys
root = pathlib.Path(sys.argv[1])
print("ready", flush=True)
for name in sorted(os.listdir(root / "new")):
    os.rename(root / "new" / name, root / "cur" / f"{name}:2,S")
"""


@contextmanager
def playing(script: str, root: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() in (None, 0)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_walk_among_renames_has_every_message_once(maildir: World, whole: bool) -> None:
    before = {maildir.deliver("INBOX", OLD).key for _ in range(MESSAGES)}
    root = Path(maildir.specification.location)
    mailbox = open_mailbox(maildir.specification)
    with playing(RENAMING, root):
        for _ in range(20 if whole else 5):
            walked = [listing.ref.key for listing in mailbox.walk("INBOX")]
            assert len(walked) == len(set(walked))
            assert before - set(walked) == set()


def test_messages_that_move_from_new_to_cur_are_seen_once(maildir: World) -> None:
    root = Path(maildir.specification.location)
    names = {f"1300000000.M{number}P1.host" for number in range(MESSAGES)}
    for name in names:
        (root / "new" / name).write_bytes(OLD)
    mailbox = open_mailbox(maildir.specification)
    with playing(MOVING_IN, root):
        while any((root / "new").iterdir()):
            assert sorted(entry.ref.key for entry in mailbox.walk("INBOX")) == sorted(names)


def test_replacing_among_renames_loses_nothing(maildir: World) -> None:
    refs = [maildir.deliver("INBOX", OLD) for _ in range(40)]
    root = Path(maildir.specification.location)
    mailbox = open_mailbox(maildir.specification)
    done = 0
    with playing(RENAMING, root):
        deadline = time.monotonic() + 20
        for ref in refs:
            (placed,) = place(mailbox, [ref])
            (answer,) = mailbox.retire([placed])
            assert isinstance(answer, Placed | MessageError)
            done += isinstance(answer, Placed)
            assert time.monotonic() < deadline
    bodies = [seen.raw for seen in maildir.seen() if seen.raw in (OLD, NEW)]
    assert bodies.count(NEW) == len(refs)
    assert bodies.count(OLD) == len(refs) - done
    assert done > len(refs) // 2


@contextmanager
def acting_at_first_point(act: Callable[[], None]) -> Iterator[None]:
    """Stops the block at the first crash point it passes, acts, and lets it go on."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        if len(passed) == 1:
            act()

    before = install(hook)
    try:
        yield
    finally:
        install(before)
    assert passed


LAST_MOMENT: dict[str, tuple[Callable[[World, MessageRef, MessageRef], None], bool]] = {
    "old flagged": (lambda world, old, new: world.set_flags(old, FLAGGED), True),
    "new flagged": (lambda world, old, new: world.set_flags(new, FLAGGED), True),
    "old deleted": (lambda world, old, new: world.set_flags(old, DELETED), False),
    "old removed": (lambda world, old, new: world.remove(old), False),
    "old overwritten": (lambda world, old, new: world.overwrite(old, OLD + b"!"), False),
    "new removed": (lambda world, old, new: world.remove(new), False),
    "new overwritten": (lambda world, old, new: world.overwrite(new, b"X: y\n\n"), False),
}


@pytest.mark.parametrize(("act", "is_done"), LAST_MOMENT.values(), ids=LAST_MOMENT)
def test_what_happens_at_the_last_moment_is_seen(
    maildir: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[World, MessageRef, MessageRef], None],
    is_done: bool,
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    mailbox = open_mailbox(maildir.specification)
    (placed,) = place(mailbox, [ref])
    new = placed.ref
    with acting_at_first_point(lambda: act(maildir, ref, new)):
        (answer,) = mailbox.retire([placed])
    assert isinstance(answer, Placed) == is_done
    seen = maildir.seen()
    assert {OLD, NEW} & {message.raw for message in seen}
    if is_done:
        assert [(message.raw, message.flags) for message in seen] == [(NEW, FLAGGED)]


def test_a_flag_that_is_set_and_cleared_again_meanwhile_is_cleared(maildir: World) -> None:
    mailbox = open_mailbox(maildir.specification)
    ref = maildir.deliver("INBOX", OLD)
    placed = place(mailbox, [ref])
    maildir.set_flags(ref, FLAGGED)

    def clear(name: str) -> None:
        if name == "maildir.flagged.after":  # the new copy has it
            install(before)
            maildir.set_flags(ref, SEEN)

    before = install(clear)
    (answer,) = mailbox.retire(placed)
    assert isinstance(answer, Placed)
    assert [(seen.raw, seen.flags) for seen in maildir.seen()] == [(NEW, SEEN)]


def test_a_copy_that_is_flagged_while_it_is_made_durable_is_found(maildir: World) -> None:
    mailbox = open_mailbox(maildir.specification)
    placed = place(mailbox, [maildir.deliver("INBOX", OLD) for _ in range(3)])
    with acting_at_first_point(lambda: maildir.set_flags(placed[1].ref, FLAGGED)):
        found = mailbox.find([copy.written.intent for copy in placed])
    assert [len(where.copies) for where in found] == [1, 1, 1]


@pytest.mark.parametrize("letters", ["", "S"])
def test_a_replacement_of_a_new_message_follows_it_to_cur(maildir: World, letters: str) -> None:
    root = Path(maildir.specification.location)
    (root / "new" / "1.M1.host").write_bytes(OLD)
    mailbox = open_mailbox(maildir.specification)
    (listing,) = mailbox.walk("INBOX")
    placed = place(mailbox, [listing.ref])
    assert len(list((root / "new").iterdir())) == 2
    (root / "new" / "1.M1.host").rename(root / "cur" / f"1.M1.host:2,{letters}")
    mailbox.retire(placed)
    assert list((root / "new").iterdir()) == []
    (path,) = (root / "cur").iterdir()
    assert path.name.endswith(f":2,{letters}")
    assert path.read_bytes() == NEW


def test_a_replacement_of_a_new_message_stays_new(maildir: World) -> None:
    root = Path(maildir.specification.location)
    (root / "new" / "1.M1.host").write_bytes(OLD)
    mailbox = open_mailbox(maildir.specification)
    mailbox.retire(place(mailbox, [listing.ref for listing in mailbox.walk("INBOX")]))
    assert [path.read_bytes() for path in (root / "new").iterdir()] == [NEW]
    assert list((root / "cur").iterdir()) == []


def test_a_new_copy_that_a_server_took_from_new_to_cur_is_found(maildir: World) -> None:
    root = Path(maildir.specification.location)
    (root / "new" / "1.M1.host").write_bytes(OLD)
    mailbox = open_mailbox(maildir.specification)
    placed = place(mailbox, [listing.ref for listing in mailbox.walk("INBOX")])
    name = placed[0].ref.key
    (root / "new" / name).rename(root / "cur" / f"{name}:2,S")
    (answer,) = mailbox.retire(placed)
    assert isinstance(answer, Placed)
    assert [seen.raw for seen in maildir.seen()] == [NEW]
