"""What cannot be read costs one message, in every operation that reads it, and nothing else.

The calls really answer with these errors, as long as the run lasts.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.faults import Ended, FaultyProcess, fault, without_privileges
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill

pytestmark = pytest.mark.rights

MESSAGE, CHECKPOINT, ORIGINAL = "box/cur/*", "job/checkpoints/*.eml", "job/originals/*.eml"


@dataclass(frozen=True)
class Case:
    """An operation, and what it cannot read."""

    command: str
    state: str
    """Of the mailbox and its job before."""
    at: str
    code: int = 3
    undone: int = 1
    """How many messages are not as they would be."""
    told: int = 1
    """How often the reason is told: an answer for a key has its own reasons."""

    def __str__(self) -> str:
        return f"{self.command}, {self.state}, {self.at}"


CASES = [
    Case("scan", "fresh", MESSAGE, code=0, undone=0),
    Case("decrypt", "fresh", MESSAGE),
    Case("in place", "fresh", MESSAGE),
    Case("in place", "decrypted", MESSAGE),
    Case("in place", "decrypted", CHECKPOINT, code=16),
    Case("encrypt", "decrypted", MESSAGE),
    Case("encrypt", "decrypted", CHECKPOINT, code=16),
    Case("encrypt", "in place", MESSAGE),
    Case("rewrap", "fresh", MESSAGE),
    Case("verify", "encrypted", MESSAGE, undone=0),
    Case("verify --verify-keys", "encrypted", MESSAGE),
    Case("verify --retire", "encrypted", MESSAGE, told=3),  # with its key, too
    Case("rollback", "encrypted", MESSAGE),
    Case("rollback", "encrypted", ORIGINAL, code=16),
    Case("rollback --to-stage", "in place, encrypted", CHECKPOINT, code=16),
    Case("restore lost", "decrypted, lost", CHECKPOINT, code=16),
    Case("restore lost", "encrypted, lost", ORIGINAL),
    Case("purge", "encrypted", MESSAGE),
]

ERRORS = {
    "EIO": "input/output error",
    "ESTALE": "stale file handle",
    "EACCES": "permission denied",
    "EMFILE": "too many open files",
}
FAULTS = [("open", error) for error in ERRORS]
FAULTS += [("read", error) for error in ("EIO", "ESTALE")]
COMBINATIONS = [
    pytest.param(
        case,
        *fault,
        id=f"{case} {' '.join(fault)}",
        marks=() if (number - place) % len(FAULTS) == 0 else pytest.mark.all_only,
    )
    for number, case in enumerate(CASES)
    for place, fault in enumerate(FAULTS)
]
"""The normal run injects another of the faults in each case."""


def of_first(work: Path, pattern: str) -> Path:
    """The file of the first message."""
    (path,) = (path for path in work.glob(pattern) if b"Message-ID: <1@" in path.read_bytes())
    return path


def states(work: Path) -> Counter[str]:
    """What the job says of the messages that are in the mailbox."""
    log = work / "job" / "job.db"
    if not log.exists():
        return Counter()
    with closing(sqlite3.connect(log)) as rows:
        found = rows.execute(
            "SELECT state || iif(purged, ', purged', '') FROM message WHERE presence = 'present'"
        )
        return Counter(state for (state,) in found)


@dataclass(frozen=True)
class Stage:
    """A mailbox and its job, as they are before each run."""

    place: Path
    """Always the same, so that the job is where it was."""
    words: dict[str, list[object]]
    process: FaultyProcess
    known: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def set(self, state: str) -> Path:
        work = self.place / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.place / state, work)
        return work

    def run(self, command: str, **options: object) -> Ended:
        return self.process.command(self.words[command], self.place, **options)  # type: ignore[arg-type]

    def sound(self, case: Case) -> Counter[str]:
        """What becomes of the messages where nothing fails."""
        if (case.command, case.state) not in self.known:
            work = self.set(case.state)
            assert self.run(case.command).code == 0
            self.known[case.command, case.state] = states(work)
        return self.known[case.command, case.state]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: Keys, faulty: FaultyProcess) -> Stage:
    place = tmp_path_factory.mktemp("read")
    work = place / "work"
    box, job, alone = work / "box", work / "job", "--workers=0"
    to = ("--to", keys.new.certificate)
    opens = ("--keys", keys.history)
    ends = ("--job", job, alone)
    new = ("--verify-keys", keys.new.private_key, "--verify-keys", keys.new.certificate)
    words: dict[str, list[object]] = {
        "scan": ["scan", box, *opens, alone],
        "decrypt": ["decrypt", box, *opens, *ends],
        "in place": ["decrypt", box, "--in-place", *opens, *ends],
        "encrypt": ["encrypt", box, *to, *ends],
        "restore lost": ["encrypt", box, "--restore-lost", *to, *ends],
        "rewrap": ["rewrap", box, "--or-reencrypt", *opens, *to, *ends],
        "verify": ["verify", job, alone],
        "verify --verify-keys": ["verify", job, *new, alone],
        "verify --retire": ["verify", job, "--retire", keys.history, *new, alone],
        "rollback": ["rollback", job, alone],
        "rollback --to-stage": ["rollback", job, "--to-stage=decrypted", alone],
        "purge": ["purge", job, "--accept-unproven", alone],
    }
    made = Stage(place, words, faulty)
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000002.M2P1.host:2,S", encrypted(2, keys.old)),
        Mail(".Sent", "cur/1300000003.M3P1.host:2,S", encrypted(3, keys.old)),
        Mail(".Sent", "cur/1300000004.M4P1.host:2,S", CLEAR),
    ]
    fill(box, mail)
    shutil.copytree(work, place / "fresh")
    for state, before, command in (
        ("decrypted", "fresh", "decrypt"),
        ("encrypted", "decrypted", "encrypt"),
        ("in place", "fresh", "in place"),
        ("in place, encrypted", "in place", "encrypt"),
    ):
        made.set(before)
        ended = made.run(command)
        assert ended.code == 0, ended.err
        shutil.copytree(work, place / state)
    for state in ("decrypted", "encrypted"):
        made.set(state)
        for path in box.glob("cur/*"):
            path.unlink()
        shutil.copytree(work, place / f"{state}, lost")
    return made


@pytest.mark.parametrize(("case", "call", "error"), COMBINATIONS)
def test_what_cannot_be_read_costs_one_message(
    case: Case, call: str, error: str, stage: Stage
) -> None:
    sound = stage.sound(case)
    work = stage.set(case.state)
    ended = stage.run(case.command, fault=fault(f"{call}={error}", at=of_first(work, case.at)))
    assert ended.met
    assert ended.code == case.code, ended.err
    assert " ".join((ended.err + ended.out).split()).count(ERRORS[error]) == case.told, ended.err
    assert (sound - states(work)).total() == case.undone
    again = stage.run(case.command)
    assert again.code == 0, again.err
    assert states(work) == sound


# --- what a purge makes of it --------------------------------------------------------------------


def shut(first: Path, second: Path) -> None:
    first.chmod(0)
    assert second.exists()


def exchange(first: Path, second: Path) -> None:
    """What cannot be read takes the place of the other, which lies in its own."""
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    second.chmod(0)


def double(first: Path, second: Path) -> None:
    """A second copy of the one that can be read may stand for nothing else."""
    for number in range(2):
        (second.parent / f"130000009{number}.M9P1.host:2,S").write_bytes(second.read_bytes())
    first.chmod(0)


def replace(first: Path, second: Path) -> None:
    """Junk under its name, and itself where it cannot be read."""
    raw = first.read_bytes()
    beside = first.parent / "1300000090.M9P1.host:2,S"
    first.rename(beside)
    beside.chmod(0)
    first.write_bytes(raw.partition(b"\n\n")[0] + b"\n\n" + second.read_bytes())


@pytest.mark.parametrize("attack", [shut, exchange, double, replace])
def test_a_purge_lets_go_of_nothing_that_belongs_to_what_it_cannot_read(
    attack: Callable[[Path, Path], None], stage: Stage
) -> None:
    work = stage.set("encrypted")
    box = work / "box" / "cur"
    first = of_first(work, MESSAGE)
    (second,) = set(box.iterdir()) - {first}
    attack(first, second)
    ended = stage.run("purge", prepare=without_privileges)
    assert ended.code == 3, ended.err
    for path in box.iterdir():
        path.chmod(0o600)
    kept = [path.read_bytes() for path in (work / "job" / "originals").iterdir()]
    assert sum(b"Message-ID: <1@" in raw for raw in kept) == 1
    assert len(kept) == 1
    assert len(list((work / "job" / "checkpoints").glob("*.eml"))) == 1
