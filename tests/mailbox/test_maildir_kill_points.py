"""Killed at any step of a replacement, a Maildir has each message once or twice, whole."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from sectool.mailbox import Mailbox, open_mailbox
from tests.support import crash, replacing_process
from tests.support.faults import FaultyProcess, fault
from tests.support.mailbox_contract import World
from tests.support.replacing_process import new_bytes, read_notes

OLD = {b"Subject: one\n\nold one\n": "INBOX", b"Subject: two\n\nold two\n": "Sent"}
NEW = {new_bytes(raw): folder for raw, folder in OLD.items()}
VARIANTS = [(), ("spool",), ("settled",), ("flag",), ("spool", "flag"), ("settled", "flag")]


def run(fault: str, *arguments: str) -> int:
    return crash.in_child(lambda: replacing_process.main(*arguments), fault)


def check_copies(world: World) -> None:
    """Each message is there whole, at most twice, and not twice with the same bytes."""
    seen = Counter(message.raw for message in world.seen())
    assert set(seen) <= set(OLD) | set(NEW)
    assert set(seen.values()) == {1}
    for old in OLD:
        assert 1 <= seen[old] + seen[new_bytes(old)] <= 2


def recover(world: World, mailbox: Mailbox, notes: Path) -> None:
    """What an engine does with the intents it finds; holds ``find`` against the files."""
    old_by_folder = {folder: raw for raw, folder in OLD.items()}
    with mailbox.lock():
        mailbox.settle(read_notes(notes))
        for intent in read_notes(notes):
            where = mailbox.find([intent])[0]
            raws = {message.raw for message in world.seen()}
            old = old_by_folder[intent.replaced.folder]
            assert where.old_present == (old in raws)
            assert bool(where.copies) == (new_bytes(old) in raws)
            if not where.copies:
                mailbox.abandon([intent])
            elif where.old_present:
                mailbox.retire(where.copies)


# Budget: 10 seconds; every passing is killed at, since a fork is cheap here.
@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options) or "copied")
@pytest.mark.parametrize("grain", [0, 10**15], ids=["fine", "coarse"])
def test_no_crash_costs_a_message(
    maildir: World,
    tmp_path: Path,
    options: tuple[str, ...],
    grain: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with a clock by which each change shows, or none: all is read once, or looked at again.
    monkeypatch.setattr("sectool.sight.CLOCK_GRAIN", grain)
    monkeypatch.setattr("sectool.mailbox.files.view.PAUSE", 0)  # nobody else is at work here
    root, notes, trace = Path(maildir.specification.location), tmp_path / "notes", tmp_path / "t"
    for raw, folder in OLD.items():
        maildir.deliver(folder, raw)
    pristine = shutil.copytree(root, tmp_path / "pristine")
    assert run(f"trace@{trace}", str(root), str(notes), *options) == 0
    assert {seen.raw for seen in maildir.seen()} == set(NEW)
    points = trace.read_text().split()
    wanted = {
        "maildir.sync.before",
        "maildir.place.after",
        "maildir.retire.after",
        "maildir.discard-old.after",
    }
    wanted |= {"maildir.flags.after"} if "flag" in options else set()
    wanted |= {"maildir.stage.after" if {"spool", "settled"} & {*options} else "maildir.stage"}
    assert wanted <= set(points)

    for number, name in enumerate(points, 1):
        shutil.rmtree(root)
        notes.unlink(missing_ok=True)
        shutil.copytree(pristine, root)
        code = run(f"crash@{number}", str(root), str(notes), *options)
        assert code == -signal.SIGKILL, name
        check_copies(maildir)
        recover(maildir, open_mailbox(maildir.specification), notes)
        check_copies(maildir)
        flags = {"seen", "flagged"} if "flag" in options else {"seen"}
        for message in maildir.seen():
            if message.raw in NEW:
                assert message.flags.system == flags, name
        assert len(maildir.seen()) == len(OLD), name
        leftovers = [path.name for path in root.glob("**/tmp/*")]
        assert [left for left in leftovers if not left.startswith("sectool.")] == [], name


FAULTS = [
    "sync=EIO@1",
    "sync=EIO@2",
    "sync=EIO@3+",
    "sync=EIO@4",
    "sync=ENOSPC@1+",
    "rights=EPERM@1+",
    "times=EROFS@2",
    "rename=EIO@1",
    "rename=EROFS@2",
    "rename=ENOSPC@1+",
    "unlink=EBUSY@1+",
    "unlink=EPERM@2",
    "write=ENOSPC@2+",
    "write=EDQUOT@1+",
]


@pytest.mark.parametrize("text", FAULTS)
@pytest.mark.parametrize("option", ["copy", "spool", "settled"])
def test_no_failing_system_call_costs_a_message(
    maildir: World, faulty: FaultyProcess, tmp_path: Path, text: str, option: str
) -> None:
    root, notes = Path(maildir.specification.location), tmp_path / "notes"
    for raw, folder in OLD.items():
        maildir.deliver(folder, raw)
    arguments = (str(root), str(notes), option)
    met = fault(text, under=(root,))
    ended = faulty.act(replacing_process.main, *arguments, place=tmp_path, fault=met)
    assert ended.met
    assert ended.code != 0
    check_copies(maildir)
    recover(maildir, open_mailbox(maildir.specification), notes)
    check_copies(maildir)
    assert len(maildir.seen()) == len(OLD)
