"""Each fault of a disk, and of rights, against the code it ends with and the words it is told in.

The numbers are those of docs/faults.md. Every fault is really produced: the system answers
the call with it (strace), or the file is there as it must not be.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.faults import Ended, run_command, without_privileges
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

    def set(self, state: str) -> Path:
        work = self.place / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.states[state], work)
        return work

    def run(self, command: str, **options: object) -> Ended:
        return run_command(self.words[command], self.place, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Stage:
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
    made = Stage(place, {name: place / name for name in names}, words)
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
class Fault:
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


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))


READ = "the message .* cannot be read"
DISK = "the disk or its cable"
SERVER = "the file server"
DESCRIPTORS = "ulimit -n"
STAT, OPEN, LIST = "newfstatat,lstat,stat,statx", "openat,open", "getdents64"

FAULTS = [
    # The mailbox: a fault of one message costs that message, one of a folder the run.
    Fault("F19", "decrypt", 3, f"{READ}: input/output error", f"{OPEN}:error=EIO", ONE),
    Fault(
        "F19",
        "decrypt",
        3,
        "cannot be read: input/output error",
        "read:error=EIO",
        ONE,
        is_further=True,
    ),
    Fault("F19", "scan", 0, f"{READ}: input/output error", f"{OPEN}:error=EIO", ONE),
    Fault("F19", "encrypt", 3, "cannot be read: input/output error", "read:error=EIO", ONE),
    Fault("F19", "in place", 3, f"{READ}: input/output error", f"{OPEN}:error=EIO", ONE),
    Fault(
        "F19", "rewrap", 3, f"{READ}: input/output error", f"{OPEN}:error=EIO", ONE, is_further=True
    ),
    Fault("F33", "decrypt", 3, f"{READ}: stale file handle", f"{OPEN}:error=ESTALE", ONE),
    Fault(
        "F28",
        "decrypt",
        3,
        f"{READ}: too many open files",
        f"{OPEN}:error=EMFILE",
        ONE,
    ),
    Fault(
        "F25",
        "decrypt",
        3,
        f"{READ}: permission denied",
        f"{OPEN}:error=EACCES",
        ONE,
        is_further=True,
    ),
    Fault("F19", "scan", 1, "cannot list .*: input/output", f"{STAT}:error=EIO", "box/.Sent"),
    Fault("F19", "scan", 1, "cannot list cur of .*: input/output", f"{LIST}:error=EIO", "box/cur"),
    Fault("F33", "scan", 1, "cannot list new of .*: stale", f"{OPEN}:error=ESTALE", "box/new"),
    Fault(
        "F19",
        "scan",
        1,
        "cannot look at .*/box: input",
        f"{STAT}:error=EIO",
        "box",
        hint=DISK,
        is_further=True,
    ),
    Fault("F33", "scan", 1, "look at .*: stale", f"{STAT}:error=ESTALE", "box/cur", hint=SERVER),
    Fault("F23", "scan", 0, "", "close:error=EIO", "box/cur"),
    Fault(
        "F25",
        "scan",
        1,
        "cannot list .*: perm",
        arrange=shut("box/.Sent"),
        prepare=without_privileges,
    ),
    Fault(
        "F25", "scan", 1, "cannot list cur of", arrange=shut("box/cur"), prepare=without_privileges
    ),
    Fault(
        "F25", "decrypt", 3, f"{READ}: permission", arrange=shut(ONE), prepare=without_privileges
    ),
    Fault("F49", "scan", 0, "", arrange=lambda work: (work / "box/loop").symlink_to("loop")),
    Fault("F27", "encrypt", 3, "operation not permitted", "unlink,unlinkat:error=EPERM", ONE),
    Fault("F29", "encrypt", 0, "", "link,linkat:error=EMLINK:when=1+", "job/originals"),
    # The job log: a fault of the disk is none of the log.
    Fault("F19", "encrypt", 1, "job log .*: disk I/O", "pread64:error=EIO:when=1", LOG, hint=DISK),
    Fault(
        "F19", "encrypt", 1, "job log", "pread64:error=EIO:when=4", LOG, hint=DISK, is_further=True
    ),
    Fault("F19", "status", 1, "job log", "pread64,read:error=EIO:when=3+", LOG, hint=DISK),
    Fault("F22", "encrypt", 1, "job log .*: disk I/O", "fsync,fdatasync:error=EIO", LOG, hint=DISK),
    Fault("F14", "encrypt", 17, "job log: no space left", "pwrite64:error=ENOSPC:when=2+", LOG),
    Fault(
        "F16",
        "encrypt",
        17,
        "job log: no space left",
        "pwrite64:error=EDQUOT:when=5+",
        is_further=True,
    ),
    Fault(
        "F28",
        "encrypt",
        1,
        "job log .*: too many",
        f"{OPEN}:error=EMFILE:when=1+",
        LOG,
        hint=DESCRIPTORS,
    ),
    Fault("F28", "scan", 1, "too many open files", prepare=few_descriptors),
    Fault("B81", "encrypt", 13, "its end is missing", arrange=cut_log),
    Fault("B81", "status", 13, "its end is missing", arrange=cut_log, is_further=True),
    # The rest of the job directory.
    Fault(
        "F26", "encrypt", 2, "cannot lock the job .*: read-only", f"{OPEN}:error=EROFS", "job/lock"
    ),
    Fault("F23", "encrypt", 0, "", "close:error=EIO", "job/lock"),
    Fault("F19", "encrypt", 1, "lock the job .*: input", "flock:error=EIO", "job/lock", hint=DISK),
    Fault(
        "F21",
        "decrypt",
        1,
        "cannot make the checkpoint .*: input",
        "fsync:error=EIO",
        "job/checkpoints",
        hint=DISK,
    ),
    Fault("F18", "decrypt", 17, "file too large|no space left", prepare=small_files),
    Fault(
        "B82",
        "encrypt",
        16,
        "missing or damaged",
        arrange=damage("job/checkpoints/*.eml"),
        hint="backup",
    ),
    Fault(
        "B82",
        "encrypt",
        16,
        "missing or damaged",
        arrange=directory_instead("job/checkpoints/*.eml"),
    ),
    Fault(
        "B82",
        "decrypt again",
        16,
        "a directory lies in the place",
        arrange=directory_instead("job/checkpoints/*.eml"),
        hint="move it away",
    ),
    Fault(
        "F19",
        "encrypt",
        16,
        "missing or damaged",
        f"{OPEN}:error=EIO:when=1+",
        "job/checkpoints/*.eml",
    ),
    Fault(
        "B82",
        "rollback",
        16,
        "missing or damaged",
        arrange=damage("job/originals/*.eml"),
        hint="backup",
    ),
    Fault("B82", "rollback", 16, "missing or damaged", "read:error=EIO", "job/originals/*.eml"),
    Fault(
        "F27",
        "purge",
        1,
        "remove .*: input/output error",
        "unlink,unlinkat:error=EIO",
        "job/originals/*.eml",
        hint=DISK,
    ),
    Fault("F25", "status", 2, "permission denied", arrange=shut("job"), prepare=without_privileges),
    Fault("F25", "verify", 2, "permission denied", arrange=shut("job"), prepare=without_privileges),
    Fault("F19", "verify", 3, "of the job cannot be read", "read:error=EIO:when=1", "box/cur/*"),
    Fault("F19", "purge", 3, "of the job cannot be read", "read:error=EIO:when=1", "box/cur/*"),
]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, marks=pytest.mark.all_only if each.is_further else ()) for each in FAULTS],
    ids=lambda fault: f"{fault.number} {fault.command} {fault.inject or fault.code}",
)
def test_a_fault_ends_with_its_code_and_is_told_in_one_line(fault: Fault, stage: Stage) -> None:
    if fault.inject and os.geteuid() != 0:
        pytest.skip("only root can inject a fault into a process that lets nobody look into it")
    work = stage.set(STATES.get(fault.command, "encrypted"))
    at = min(work.glob(fault.at), default=work / fault.at) if fault.at else None
    if fault.arrange is not None:
        fault.arrange(work)
    ended = stage.run(
        fault.command.removesuffix(" again"), inject=fault.inject, at=at, prepare=fault.prepare
    )
    for path in (work / "job", work / "box/cur", work / "box/.Sent"):
        if path.exists():
            path.chmod(0o700)
    assert ended.code == fault.code, ended.err
    assert "(INJECTED)" in ended.trace or not fault.inject
    assert "an error of its own" not in ended.err
    assert "Traceback" not in ended.err
    lines = (ended.err + ended.out).splitlines()
    said = " ".join(" ".join(lines).split())
    assert re.search(fault.words, said), said
    assert re.search(fault.hint, said), said
    errors = [line for line in lines if line.startswith("sectool: error: ")]
    assert len(errors) == (fault.code not in {0, 3})
    assert sum(line.startswith("sectool: hint: ") for line in lines) >= len(errors)


# --- every call of every command ---------------------------------------------------------------

EVERY = {
    f"{OPEN},{STAT}": ("EIO", "EACCES", "ESTALE", "EMFILE"),
    f"read,pread64,{LIST}": ("EIO", "ESTALE"),
    "close": ("EIO",),
    "fsync,fdatasync": ("EIO", "ENOSPC"),
    "rename,renameat,unlink,unlinkat,link,linkat,mkdir": ("EIO", "EROFS"),
    "write,pwrite64,ftruncate": ("EIO", "ENOSPC"),
}
"""Calls that a disk may fail, and what with."""

SHARE = 24
"""So many calls of each kind are failed in each command, spread over all of them."""


@pytest.mark.all_only
@pytest.mark.parametrize("calls", EVERY, ids=lambda calls: calls.partition(",")[0])
@pytest.mark.parametrize(
    "command", ["scan", "decrypt", "encrypt", "rewrap", "status", "verify", "rollback", "purge"]
)
def test_no_fault_of_a_call_is_an_error_of_its_own(
    command: str, calls: str, stage: Stage, tmp_path: Path
) -> None:
    state = STATES.get(command, "encrypted")
    work = stage.set(state)
    # Nothing is injected at a call that never comes.
    counted = stage.run(command, inject=f"{calls}:error=EIO:when=65000").trace
    lines = counted.splitlines()
    ours = [number for number, line in enumerate(lines, 1) if str(work) in line]
    for error in EVERY[calls]:
        for number in ours[:: max(1, len(ours) // SHARE)]:
            stage.set(state)
            ended = stage.run(command, inject=f"{calls}:error={error}:when={number}")
            assert "an error of its own" not in ended.err, (error, number, ended.err)
            assert "Traceback" not in ended.err, (error, number, ended.err)
            assert ended.code in KNOWN, (error, number, ended.err)
