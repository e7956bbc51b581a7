"""Each fault of a disk, and of rights, against the code it ends with and the words it is told in.

The numbers are those of docs/faults.md. Every fault is really produced: the call
answers with it, or the file is there as it must not be.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.faults import (
    Ended,
    FaultyProcess,
    fault,
    few_descriptors,
    small_files,
    without_privileges,
)
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill

pytestmark = pytest.mark.rights

ONE = "box/cur/1300000001.M1P1.host:2,S"
LOG = "job/job.db"


@dataclass(frozen=True)
class Stage:
    """A mailbox and its job, as they are before each fault."""

    place: Path
    """Always the same, so that the job is where it was."""
    states: dict[str, Path]
    words: dict[str, list[object]]
    process: FaultyProcess

    def set(self, state: str) -> Path:
        work = self.place / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.states[state], work)
        return work

    def run(self, command: str, **options: object) -> Ended:
        return self.process.command(self.words[command], self.place, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: Keys, faulty: FaultyProcess) -> Stage:
    place = tmp_path_factory.mktemp("faults")
    work = place / "work"
    to = ("--to", keys.new.certificate)
    ends = ("--job", work / "job", "--workers=0")
    opens = ("--keys", keys.history)
    words: dict[str, list[object]] = {
        "scan": ["scan", work / "box", *opens, "--workers=0"],
        "decrypt": ["decrypt", work / "box", *opens, *ends],
        "in place": ["decrypt", work / "box", "--in-place", *opens, *ends],
        "encrypt": ["encrypt", work / "box", *to, *ends],
        "rewrap": ["rewrap", work / "box", "--or-reencrypt", *opens, *to, *ends],
        "status": ["status", work / "job"],
        "verify": ["verify", work / "job", "--workers=0"],
        "rollback": ["rollback", work / "job", "--workers=0"],
        "purge": ["purge", work / "job", "--accept-unproven", "--workers=0"],
        "keys": ["keys", *opens[1:]],
    }
    names = ("fresh", "decrypted", "encrypted")
    made = Stage(place, {name: place / name for name in names}, words, faulty)
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000002.M2P1.host:2,S", encrypted(2, keys.old)),
        Mail(".Sent", "cur/1300000003.M3P1.host:2,S", CLEAR),
    ]
    fill(work / "box", mail)
    for name, command in zip(names, ("", "decrypt", "encrypt"), strict=True):
        if command:
            ended = made.run(command)
            assert ended.code == 0, ended.err
        shutil.copytree(work, made.states[name])
    return made


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    number: str
    """Of docs/faults.md."""
    command: str
    code: int
    words: str
    """What it says, as a regular expression; empty: nothing, since nothing is the matter."""
    inject: str = ""
    at: str = ""
    """What the calls are about; ``*`` stands for the one name that fits."""
    arrange: Callable[[Path], object] | None = None
    prepare: Callable[[], None] | None = None
    hint: str = field(default="", kw_only=True)
    is_further: bool = field(default=False, kw_only=True)
    """Whether it runs with ``--all`` alone."""


KNOWN = {0, 1, 2, 3, 10, 13, 16, 17, 20, 22}
"""Codes that a fault of a disk may end with."""

STATES = {"encrypt": "decrypted", "decrypt again": "decrypted", "scan": "fresh", "keys": "fresh"}
STATES |= {"decrypt": "fresh", "in place": "fresh", "rewrap": "fresh"}


def first(work: Path, pattern: str) -> Path:
    return min(work.glob(pattern))


def directory_instead(pattern: str) -> Callable[[Path], None]:
    def arrange(work: Path) -> None:
        path = first(work, pattern)
        path.unlink()
        path.mkdir()

    return arrange


def damage(pattern: str) -> Callable[[Path], None]:
    def arrange(work: Path) -> None:
        path = first(work, pattern)
        path.write_bytes(path.read_bytes()[:-9] + b"elsewhere")

    return arrange


def shut(name: str) -> Callable[[Path], None]:
    return lambda work: (work / name).chmod(0)


def cut_log(work: Path) -> None:
    os.truncate(work / LOG, (work / LOG).stat().st_size - 1)


READ = "the message .* cannot be read"
DISK = "the disk or its cable"
SERVER = "the file server"
DESCRIPTORS = "ulimit -n"

FAULTS = [
    # The mailbox: a fault of one message costs that message, one of a folder the run.
    Row("F19", "decrypt", 3, f"{READ}: input/output error", "open,create=EIO", ONE),
    Row(
        "F19",
        "decrypt",
        3,
        "cannot be read: input/output error",
        "read=EIO",
        ONE,
        is_further=True,
    ),
    Row("F19", "scan", 0, f"{READ}: input/output error", "open,create=EIO", ONE),
    Row("F19", "encrypt", 3, "cannot be read: input/output error", "read=EIO", ONE),
    Row("F19", "in place", 3, f"{READ}: input/output error", "open,create=EIO", ONE),
    Row("F19", "rewrap", 3, f"{READ}: input/output error", "open,create=EIO", ONE, is_further=True),
    Row("F33", "decrypt", 3, f"{READ}: stale file handle", "open,create=ESTALE", ONE),
    Row(
        "F28",
        "decrypt",
        3,
        f"{READ}: too many open files",
        "open,create=EMFILE",
        ONE,
    ),
    Row(
        "F25",
        "decrypt",
        3,
        f"{READ}: permission denied",
        "open,create=EACCES",
        ONE,
        is_further=True,
    ),
    Row("F19", "scan", 1, "cannot list .*: input/output", "stat=EIO", "box/.Sent"),
    Row("F19", "scan", 1, "cannot list cur of .*: input/output", "list=EIO", "box/cur"),
    Row("F33", "scan", 1, "cannot list new of .*: stale", "open,create=ESTALE", "box/new"),
    Row(
        "F19",
        "scan",
        1,
        "cannot look at .*/box: input",
        "stat=EIO",
        "box",
        hint=DISK,
        is_further=True,
    ),
    Row("F33", "scan", 1, "look at .*: stale", "stat=ESTALE", "box/cur", hint=SERVER),
    Row("F23", "scan", 0, "", "close=EIO", "box/cur"),
    *(Row("F23", command, 0, "", "close=EIO", ONE) for command in ("decrypt", "in place")),
    Row("F23", "encrypt", 0, "", "close=EIO", ONE),
    Row("F23", "rewrap", 0, "", "close=EIO", ONE, is_further=True),
    Row(
        "F25",
        "scan",
        1,
        "cannot list .*: perm",
        arrange=shut("box/.Sent"),
        prepare=without_privileges,
    ),
    Row(
        "F25", "scan", 1, "cannot list cur of", arrange=shut("box/cur"), prepare=without_privileges
    ),
    Row("F25", "decrypt", 3, f"{READ}: permission", arrange=shut(ONE), prepare=without_privileges),
    Row("F49", "scan", 0, "", arrange=lambda work: (work / "box/loop").symlink_to("loop")),
    Row("F27", "encrypt", 3, "operation not permitted", "rename=EPERM", ONE),
    Row("F29", "encrypt", 0, "", "link=EMLINK@1+", ONE),
    # The job log: a fault of the disk is none of the log.
    Row("F19", "encrypt", 1, "job log .*: disk I/O", "read=EIO@1", LOG, hint=DISK),
    Row("F19", "encrypt", 1, "job log", "read=EIO@4", LOG, hint=DISK, is_further=True),
    Row("F19", "status", 1, "job log", "read=EIO@3+", LOG, hint=DISK),
    Row("F22", "encrypt", 1, "job log .*: disk I/O", "sync=EIO", LOG, hint=DISK),
    Row("F14", "encrypt", 17, "job log: no space left", "write=ENOSPC@2+", LOG),
    Row(
        "F16",
        "encrypt",
        17,
        "job log: no space left",
        "write=EDQUOT@5+",
        is_further=True,
    ),
    Row(
        "F28",
        "encrypt",
        1,
        "job log .*: too many",
        "open,create=EMFILE@1+",
        LOG,
        hint=DESCRIPTORS,
    ),
    Row("F28", "scan", 1, "too many open files", prepare=few_descriptors),
    Row("B81", "encrypt", 13, "its end is missing", arrange=cut_log),
    Row("B81", "status", 13, "its end is missing", arrange=cut_log, is_further=True),
    # The rest of the job directory.
    Row("F26", "encrypt", 2, "cannot lock the job .*: read-only", "open,create=EROFS", "job/lock"),
    Row("F23", "encrypt", 0, "", "close=EIO", "job/lock"),
    Row("F19", "encrypt", 1, "lock the job .*: input", "lock=EIO", "job/lock", hint=DISK),
    Row(
        "F21",
        "decrypt",
        1,
        "cannot make the checkpoint .*: input",
        "sync=EIO",
        "job/checkpoints",
        hint=DISK,
    ),
    Row("F18", "decrypt", 17, "file too large|no space left", prepare=small_files),
    Row(
        "B82",
        "encrypt",
        16,
        "missing or damaged",
        arrange=damage("job/checkpoints/*.eml"),
        hint="backup",
    ),
    Row(
        "B82",
        "encrypt",
        16,
        "missing or damaged",
        arrange=directory_instead("job/checkpoints/*.eml"),
    ),
    Row(
        "B82",
        "decrypt again",
        16,
        "a directory lies in the place",
        arrange=directory_instead("job/checkpoints/*.eml"),
        hint="move it away",
    ),
    Row(
        "F19",
        "encrypt",
        16,
        "missing or damaged",
        "open,create=EIO@1+",
        "job/checkpoints/*.eml",
    ),
    Row(
        "B82",
        "rollback",
        16,
        "missing or damaged",
        arrange=damage("job/originals/*.eml"),
        hint="backup",
    ),
    Row("B82", "rollback", 16, "missing or damaged", "read=EIO", "job/originals/*.eml"),
    Row(
        "F27",
        "purge",
        1,
        "remove .*: input/output error",
        "unlink=EIO",
        "job/originals/*.eml",
        hint=DISK,
    ),
    Row("F25", "status", 2, "permission denied", arrange=shut("job"), prepare=without_privileges),
    Row("F25", "verify", 2, "permission denied", arrange=shut("job"), prepare=without_privileges),
    Row("F19", "verify", 3, "of the job cannot be read", "read=EIO@1", "box/cur/*"),
    Row("F19", "purge", 3, "of the job cannot be read", "read=EIO@1", "box/cur/*"),
]


@pytest.mark.parametrize(
    "row",
    [pytest.param(each, marks=pytest.mark.all_only if each.is_further else ()) for each in FAULTS],
    ids=lambda row: f"{row.number} {row.command} {row.inject or row.code}",
)
def test_a_fault_ends_with_its_code_and_is_told_in_one_line(row: Row, stage: Stage) -> None:
    work = stage.set(STATES.get(row.command, "encrypted"))
    at = min(work.glob(row.at), default=work / row.at) if row.at else None
    if row.arrange is not None:
        row.arrange(work)
    ended = stage.run(
        row.command.removesuffix(" again"),
        fault=fault(row.inject, at=at, under=(work,)) if row.inject else None,
        prepare=row.prepare,
    )
    for path in (work / "job", work / "box/cur", work / "box/.Sent"):
        if path.exists():
            path.chmod(0o700)
    assert ended.code == row.code, ended.err
    assert ended.met or not row.inject
    assert "internal error in sectool" not in ended.err
    assert "Traceback" not in ended.err
    lines = (ended.err + ended.out).splitlines()
    said = " ".join(" ".join(lines).split())
    assert re.search(row.words, said), said
    assert re.search(row.hint, said), said
    errors = [line for line in lines if line.startswith("sectool: error: ")]
    assert len(errors) == (row.code not in {0, 3})
    assert sum(line.startswith("sectool: hint: ") for line in lines) >= len(errors)
