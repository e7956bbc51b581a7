"""Whole operations on mbox files: one exchange a phase, no plaintext left, no room, no rights."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from sectool import jobs
from sectool.crashpoints import install
from sectool.errors import Locked, NoSpace, ReadOnlyMailbox, SectoolError
from sectool.jobs.passes.preflight import space_to_replace
from sectool.jobs.replacing import grouping
from sectool.mailbox import MailboxSpecification, open_mailbox
from sectool.outcome import State
from tests.support import checker, crash
from tests.support.mailboxes import Keys, encrypted
from tests.support.mbox_files import Stored, flagged, messages_in, waiting_in
from tests.support.mounts import Mount, mount
from tests.support.specifications import Specify

__all__ = ["mount"]

COUNT = 9
"""More than the groups of these tests have."""

BEFORE = ("mbox.write:2", "mbox.place.after:3")
"""Points of a run that are passed before a file is written anew."""

THEIRS = ("0123456789abcdef.new", "box", "old.6.0123abcd")
"""What may wait beside another file."""

LINE = b"From sender-%d@example.org Fri Mar  4 05:06:07 2011\n"


@pytest.fixture(autouse=True)
def _cleared(request: pytest.FixtureRequest) -> Iterator[None]:
    if "mount" in request.fixturenames:
        request.getfixturevalue("mount")  # which is unmounted after this
    yield
    install(None)
    gc.collect()  # errors know what was open


def filled(box: Path, keys: Keys, count: int, program: str = "thunderbird") -> bytes:
    """An mbox file of encrypted mail."""
    raw = b"".join(
        LINE % number
        + flagged(encrypted(number, keys.old), frozenset({"seen"} if number % 2 else ()), program)
        + b"\n"
        for number in range(count)
    )
    box.write_bytes(raw)
    return raw


def passed(spec: jobs.Specification) -> Counter[str]:
    points: Counter[str] = Counter()
    install(lambda name: points.update([name]))
    jobs.run(spec)
    install(None)
    return points


@pytest.mark.parametrize("program", ["thunderbird", "mutt"])
def test_many_messages_cost_one_exchange_and_a_rollback_brings_every_byte_back(
    tmp_path: Path,
    keys: Keys,
    specify: Specify,
    program: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grouping, "GROUP_MESSAGES", 2)
    box, job = tmp_path / "Inbox", tmp_path / "job"
    before = filled(box, keys, COUNT, program)
    assert jobs.run(specify("decrypt", box, job=job)).counts[State.CHECKPOINTED] == COUNT
    assert box.read_bytes() == before
    assert passed(specify("encrypt", box, job=job))["mbox.exchange.after"] == 1
    mail = [replace(one, folder="") for one in checker.stored_mail(box)]
    assert all(checker.inner_digests(one.raw, [keys.new])[0] for one in mail)
    assert passed(specify("rollback", box, job=job))["mbox.exchange.after"] == 1
    assert box.read_bytes() == before
    assert waiting_in(box) == []


@pytest.mark.parametrize("share", [10, 50, 90])
def test_what_is_finished_when_a_run_is_killed_is_not_done_anew(
    tmp_path: Path, keys: Keys, specify: Specify, share: int
) -> None:
    box, job, count = tmp_path / "Inbox", tmp_path / "job", 10
    filled(box, keys, count)
    jobs.run(specify("decrypt", box, job=job))
    # The group is one of all: it is killed in the midst of its placing.
    crash.killed_at(specify("encrypt", box, job=job), f"mbox.place.after:{count * share // 100}")
    finished = {path.read_bytes() for path in waiting_in(box) if path.suffix == ".new"}
    assert len(finished) == count * share // 100
    jobs.run(specify("encrypt", box, job=job))
    assert finished <= {one.content for one in messages_in(box.read_bytes())}
    assert waiting_in(box) == []


def test_no_plaintext_is_anywhere_but_in_the_mailbox_and_none_after_encrypting(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    place, job = tmp_path / "mail", tmp_path / "job"
    place.mkdir()
    filled(place / "Inbox", keys, 6)
    sealed = specify("decrypt", place, job=job, in_place=True)
    crash.killed_at(sealed, "mbox.exchange.after")
    jobs.run(sealed)
    assert [path.name for path in place.rglob("*")] == ["Inbox"]
    plain = [one.content for one in messages_in((place / "Inbox").read_bytes())]
    bodies = {Stored(b"From x\n", raw).split()[2].strip() for raw in plain}
    assert all(bodies)
    assert not any(b"pkcs7-mime" in raw for raw in plain)
    crash.killed_at(specify("encrypt", place, job=job), "mbox.exchange.after")
    jobs.run(specify("encrypt", place, job=job))
    assert [path.name for path in place.rglob("*")] == ["Inbox"]
    now = (place / "Inbox").read_bytes()
    assert not any(body in now for body in bodies)


def test_a_disk_that_fills_during_the_rewrite_ends_with_17_and_the_same_command_goes_on(
    tmp_path: Path, keys: Keys, specify: Specify, mount: Mount
) -> None:
    disk, job, filler = tmp_path / "disk", tmp_path / "job", tmp_path / "disk" / "filler"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "none", at=disk)
    before = filled(disk / "Inbox", keys, 6)
    jobs.run(specify("decrypt", disk / "Inbox", job=job))

    def fill(name: str) -> None:
        if name == "mbox.rewrite":
            with filler.open("wb", 0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    install(None)

    install(fill)
    with pytest.raises(NoSpace):
        jobs.run(specify("encrypt", disk / "Inbox", job=job))
    assert (disk / "Inbox").read_bytes() == before
    filler.unlink()
    assert jobs.run(specify("encrypt", disk / "Inbox", job=job)).counts[State.REENCRYPTED] == 6
    assert waiting_in(disk / "Inbox") == []


def test_a_tree_that_cannot_be_written_is_decrypted_and_not_encrypted(
    tmp_path: Path, keys: Keys, specify: Specify, mount: Mount
) -> None:
    place, view, job = tmp_path / "mail", tmp_path / "view", tmp_path / "job"
    place.mkdir()
    view.mkdir()
    filled(place / "Inbox", keys, 2)
    mount("--bind", str(place), at=view)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
    assert jobs.run(specify("decrypt", view, job=job)).counts[State.CHECKPOINTED] == 2
    with pytest.raises(ReadOnlyMailbox):
        jobs.run(specify("encrypt", view, job=job))


def test_a_lock_of_a_mail_program_ends_with_11_and_the_same_command_goes_on(
    tmp_path: Path, keys: Keys, specify: Specify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sectool.mailbox.mbox.locking.WAIT", 0.05)
    box, job, lock = tmp_path / "Inbox", tmp_path / "job", tmp_path / "Inbox.lock"
    before = filled(box, keys, 3)
    jobs.run(specify("decrypt", box, job=job))
    lock.write_text("1\n")  # a process that is there always
    with pytest.raises(Locked, match="is locked by process 1") as told:
        jobs.run(specify("encrypt", box, job=job))
    assert told.value.exit_code == 11
    assert box.read_bytes() == before
    assert len(waiting_in(box)) == 3
    lock.unlink()
    assert jobs.run(specify("encrypt", box, job=job)).counts[State.REENCRYPTED] == 3
    assert waiting_in(box) == []


@pytest.mark.parametrize(
    "number",
    [
        errno.ENOSPC,
        *(pytest.param(one, marks=pytest.mark.all_only) for one in (errno.EIO, errno.EACCES)),
    ],
)
def test_an_error_at_any_act_of_the_store_loses_nothing_and_the_same_command_goes_on(
    tmp_path: Path, keys: Keys, specify: Specify, whole: bool, number: int
) -> None:
    box, job = tmp_path / "trial" / "Inbox", tmp_path / "trial" / "job"
    box.parent.mkdir()
    before = filled(box, keys, 2)
    jobs.run(specify("decrypt", box, job=job))
    shutil.copytree(tmp_path / "trial", tmp_path / "kept")
    names: list[str] = []
    install(names.append)
    jobs.run(specify("encrypt", box, job=job))
    points = [at for at, name in enumerate(names) if name.startswith("mbox.")]
    for point in points if whole else points[3::8]:
        shutil.rmtree(tmp_path / "trial")
        shutil.copytree(tmp_path / "kept", tmp_path / "trial")
        passed: list[str] = []

        def fail(name: str, point: int = point, passed: list[str] = passed) -> None:
            passed.append(name)
            if len(passed) == point + 1:
                raise OSError(number, os.strerror(number), str(box))

        install(fail)
        with contextlib.suppress(SectoolError):
            jobs.run(specify("encrypt", box, job=job))
        install(None)
        there = Counter(
            checker.meaning(one, [keys.old, keys.new]) for one in checker.stored_mail(box)
        )
        assert len(there) == 2, names[point]
        summary = jobs.run(specify("encrypt", box, job=job))
        assert summary.counts[State.REENCRYPTED] == 2, names[point]
        assert waiting_in(box) == [], names[point]
        jobs.run(specify("rollback", box, job=job))
        assert box.read_bytes() == before, names[point]


def test_a_dry_run_counts_the_room_that_the_rewrite_takes(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    box, job = tmp_path / "Inbox", tmp_path / "job"
    whole = len(filled(box, keys, 4))
    jobs.run(specify("decrypt", box, job=job))
    dry = jobs.run(specify("encrypt", box, job=job, dry_run=True))
    least: list[int] = []

    def measure(_: str) -> None:
        least.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))

    before = sum(path.stat().st_size for path in (box, *job.rglob("*")) if path.is_file())
    install(measure)
    jobs.run(specify("encrypt", box, job=job))
    install(None)
    logged = sum(path.stat().st_size for path in job.glob("job.db*"))
    # Each original takes whole blocks, and a row of the log.
    most = 5 * whole + 4 * space_to_replace(1)
    assert max(least) - before - logged <= (dry.space or 0) <= most


def named_otherwise_after(
    spec: jobs.Specification,
    point: str,
    place: Path,
    late: bytes = b"",
    *,
    then: jobs.Specification | None = None,
) -> dict[str, bytes]:
    """What lies there once a run was killed, the folder got another name, and a run ended."""
    with (place / "Work").open("ab", 0) as open_before:
        crash.killed_at(spec, point)
        (place / "Work").rename(place / "Archive")
        open_before.write(late)
    jobs.run(then or spec)
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else b""
        for path in place.rglob("*")
    }


@pytest.mark.parametrize(
    ("point", "operation"),
    [
        ("mbox.place.after:3", "decrypt"),
        ("mbox.exchange.after", "encrypt"),
        *(
            pytest.param(point, operation, marks=pytest.mark.all_only)
            for point in ("mbox.write:2", "mbox.keep.after", "mbox.exchange.before")
            for operation in ("decrypt", "encrypt")
        ),
    ],
)
def test_nothing_stays_beside_a_folder_that_gets_another_name_after_a_kill(
    tmp_path: Path, keys: Keys, specify: Specify, point: str, operation: str
) -> None:
    place, job = tmp_path / "mail", tmp_path / "job"
    place.mkdir()
    filled(place / "Work", keys, 4)
    spec: jobs.Specification = specify("decrypt", place, job=job, in_place=True)
    if operation == "encrypt":
        jobs.run(spec)
        spec = specify("encrypt", place, job=job)
    left = named_otherwise_after(spec, point, place)
    assert sorted(left) == ["Archive"]
    assert len(messages_in(left["Archive"])) == 4
    assert (b"this is message" in left["Archive"]) == (operation == "decrypt")


def killed_single_file(
    place: Path, keys: Keys, specify: Specify, operation: str, point: str
) -> dict[str, bytes]:
    """What lies there once ``encrypt`` ended on a single file that got another name after a kill.

    Beside it lies what waits for two other files, of which one is gone.
    """
    job = place.parent / "job"
    place.mkdir()
    filled(place / "Work", keys, 4)
    (place / "Other").touch()
    for name in ("Other", "Gone"):
        (place / f".{name}.sectool").mkdir(mode=0o700)
        for theirs in THEIRS:
            (place / f".{name}.sectool" / theirs).write_bytes(b"theirs")
    spec: jobs.Specification = specify("decrypt", place / "Work", job=job, in_place=True)
    if operation == "encrypt":
        jobs.run(spec)
        spec = specify("encrypt", place / "Work", job=job)
    then = specify("encrypt", f"mbox:{place / 'Archive'}", job=job, partial=True)
    return named_otherwise_after(spec, point, place, then=then)


@pytest.mark.parametrize(
    ("point", "operation"),
    [
        ("mbox.rewrite", "decrypt"),
        ("mbox.ended.before", "encrypt"),
        *(
            pytest.param(point, operation, marks=pytest.mark.all_only)
            for point in (*BEFORE, "mbox.keep.after", "mbox.exchange.after")
            for operation in ("decrypt", "encrypt")
        ),
    ],
)
def test_nothing_stays_beside_a_single_file_that_gets_another_name_after_a_kill(
    tmp_path: Path, keys: Keys, specify: Specify, point: str, operation: str
) -> None:
    """Nor is touched what waits for another one, and what waits for one that is gone is told."""
    place = tmp_path / "mail"
    left = killed_single_file(place, keys, specify, operation, point)
    for name, theirs in product(("Other", "Gone"), THEIRS):
        assert left.pop(f".{name}.sectool/{theirs}") == b"theirs"
    assert sorted(left) == [".Gone.sectool", ".Other.sectool", "Archive", "Other"]
    assert len(messages_in(left["Archive"])) == 4
    assert b"this is message" not in left["Archive"]
    archive = open_mailbox(MailboxSpecification("mbox", str(place / "Archive")))
    assert list(archive.folders()) == ["INBOX"]
    assert archive.passed_over == (str(place / ".Gone.sectool"),)


def test_a_delivery_into_a_folder_that_got_another_name_after_a_kill_makes_it_anew(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    place = tmp_path / "mail"
    place.mkdir()
    filled(place / "Work", keys, 4)
    late = LINE % 9 + b"Subject: late\n\nlate\n\n"
    spec = specify("decrypt", place, in_place=True)
    left = named_otherwise_after(spec, "mbox.exchange.after", place, late)
    assert left.pop("Work") == late
    assert sorted(left) == ["Archive"]
    assert len(messages_in(left["Archive"])) == 4
