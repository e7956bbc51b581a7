"""Which call of a command goes wrong in which way, and what must hold afterwards."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from pathlib import Path

from tests.support import checker
from tests.support.faults import Call, Ended, Fault, FaultyProcess
from tests.support.kinds import fill_kind
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill

CODES = {0, 1, 2, 3, 10, 13, 16, 17, 18, 20, 22}
"""That a fault of a disk may end with."""

CUTS = ("cut", "cut-logged")
INSTEAD = ("kill", "tear", "short", "delay", *CUTS)
"""What happens in the place of an error."""

TRIES = 3
"""Of a fault at one of the last calls: a file too young to tell of a change is read once more, so
that some runs make fewer calls than the one that was counted."""

LOOKING = ("EIO", "EACCES", "ESTALE", "EINTR")
NAMING = ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS", "ESTALE", "EINTR")
WAYS = {
    "attributes": ("EIO", "ESTALE"),
    "close": ("EIO",),
    "copy": ("EIO", "ENOSPC"),
    "create": (*NAMING, "EMFILE"),
    "link": NAMING,
    "list": ("EIO", "ESTALE"),
    "lock": ("EIO", "EINTR", "ESTALE"),
    "mkdir": NAMING,
    "open": (*LOOKING, "EMFILE"),
    "read": ("EIO", "ESTALE", "EINTR"),
    "rename": NAMING,
    "rights": ("EIO", "EACCES", "EROFS"),
    "space": ("EIO",),
    "stat": LOOKING,
    "sync": ("EIO", "ENOSPC", "EDQUOT"),
    "times": ("EIO", "EACCES", "EROFS"),
    "truncate": ("EIO", "ENOSPC", "EINTR"),
    "unlink": ("EIO", "EACCES", "EROFS", "ESTALE", "EINTR"),
    "write": ("tear", "short", "EIO", "ENOSPC", "EDQUOT", "ESTALE", "EINTR"),
}
"""How a call of each kind may go wrong; what no system answers with is left out."""


@dataclass(frozen=True)
class Trial:
    """One call of a command that goes wrong in one way."""

    call: Call
    way: str
    """One of ``INSTEAD``, or the name of an error."""

    def __str__(self) -> str:
        return f"{self.way} at {self.call.number}, {self.call.name} {self.call.path}"

    def fault(self, work: Path) -> Fault:
        number, under = self.call.number, (work / "box", work / "job")
        if self.way in INSTEAD:
            disk = work.parent if self.way in CUTS else None
            return Fault(act=self.way, first=number, under=under, disk=disk)
        return Fault(error=self.way, first=number, under=under)


def trials(calls: Sequence[Call]) -> Iterator[Trial]:
    """All that is tried.

    Each call that changes something goes wrong in each way of its kind, and the process is
    killed before it: killed before another call, it leaves what it leaves at the next that
    changes something. To the calls of the job log, which come by hundreds, one of these happens
    by turns. A call that only looks goes wrong in one of its ways by turns, the first of its
    kind on a path after each change outside of the log.
    """
    turns: Counter[str] = Counter()
    changes = 0
    looked = set()
    for call in calls:
        is_log = "/job/job.db" in call.path
        ways = ("kill", *WAYS[call.kind]) if call.changes else WAYS[call.kind]
        if call.changes and not is_log:
            changes += 1
            yield from (Trial(call, way) for way in ways)
            continue
        look = (call.kind, re.sub(r"[0-9a-f]{8,}|\d+", "#", call.path), changes)
        if call.changes or look not in looked:
            looked.add(look)
            yield Trial(call, ways[turns[call.kind] % len(ways)])
            turns[call.kind] += 1


def cuts(calls: Sequence[Call]) -> Iterator[Trial]:
    """All power cuts that are tried: before each sync and each change of a name.

    What is written between two of them is gone in any case. Before a sync of the job log one of
    the two cuts is made by turns.
    """
    syncs = 0
    for call in calls:
        is_log = "/job/job.db" in call.path
        if is_log and call.kind == "sync":
            yield Trial(call, CUTS[syncs % len(CUTS)])
            syncs += 1
        elif call.kind in {"sync", "rename", "link", "unlink"} and not is_log:
            yield from (Trial(call, way) for way in CUTS)


@dataclass(frozen=True)
class Operation:
    """A command, and what it begins and ends with."""

    state: str
    words: tuple[object, ...]
    opens: tuple[checker.Key, ...]
    """The keys that open all mail in the end."""


def _meaning(mail: checker.StoredMail, keys: Sequence[checker.Key]) -> tuple[object, ...]:
    """What it is to its owner, whichever job left its mark in it."""
    raw = re.sub(rb"(?m)^X-Sectool-Id:.*\n", b"", mail.raw)
    return checker.meaning(replace(mail, raw=raw), keys)


PRESENT = "SELECT state FROM message WHERE presence = 'present'"
"""A message that could not be read has a row of its own until it can be."""


@dataclass(frozen=True)
class End:
    """A mailbox and its job after a command."""

    meanings: Counter[tuple[object, ...]]
    waiting: int
    states: Counter[str]
    kept: frozenset[str]
    """Names of checkpoints and originals."""


@dataclass
class Stage:
    """A mailbox with its job in each state, and the commands that go from one to the next."""

    place: Path
    process: FaultyProcess
    keys: Keys
    work: Path
    """Always the same, so that the job is where it was."""
    prepare: Callable[[], None] | None = None
    """Called in the process before each command that meets a fault."""
    kind: str = "maildir"
    """Of the mailbox."""
    operations: dict[str, Operation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        work = self.work
        to = ("--to", self.keys.new.certificate)
        opens = ("--keys", self.keys.history)
        ends = ("--job", work / "job")
        old, new = (self.keys.old,), (self.keys.new,)
        self.operations |= {
            "scan": Operation("fresh", ("scan", work / "box", *opens), old),
            "decrypt": Operation("fresh", ("decrypt", work / "box", *opens, *ends), old),
            "in place": Operation(
                "fresh", ("decrypt", work / "box", "--in-place", *opens, *ends), ()
            ),
            "encrypt": Operation("decrypted", ("encrypt", work / "box", *to, *ends), new),
            "encrypt what is in clear": Operation(
                "in place", ("encrypt", work / "box", *to, *ends), new
            ),
            "rewrap": Operation("fresh", ("rewrap", work / "box", *opens, *to, *ends), new),
            "verify": Operation("encrypted", ("verify", work / "job"), new),
            "rollback": Operation("encrypted", ("rollback", work / "job"), old),
            "purge": Operation("encrypted", ("purge", work / "job", "--accept-unproven"), new),
        }
        mail = [
            Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, self.keys.old)),
            Mail(".Sent", "cur/1300000002.M2P1.host:2,FS", encrypted(2, self.keys.old)),
            Mail("", "new/1300000003.M3P1.host", CLEAR),
        ]
        if self.kind == "maildir":
            fill(work / "box", mail)
        else:
            fill(self.place / "filled", mail)
            work.mkdir()
            fill_kind(work / "box", self.kind, self.place / "filled")
        shutil.copytree(work, self.place / "fresh")
        for before, name, state in (
            ("fresh", "in place", "in place"),
            ("fresh", "decrypt", "decrypted"),
            ("decrypted", "encrypt", "encrypted"),
        ):
            self.set(before)
            ended = self.run(name)
            assert ended.code == 0, ended.err
            shutil.copytree(work, self.place / state)

    def set(self, state: str) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.place / state, self.work)

    def recover(self) -> None:
        """What happens between a fault and the next command."""

    def run(self, name: str, fault: Fault | None = None, *, workers: int = 0) -> Ended:
        words = [*self.operations[name].words, f"--workers={workers}"]
        return self.process.command(
            words,
            self.place,
            fault=fault,
            in_workers=workers > 0,
            prepare=None if fault is None else self.prepare,
        )

    def end(self, operation: Operation) -> End:
        box, job, log = self.work / "box", self.work / "job", self.work / "job" / "job.db"
        states: Counter[str] = Counter()
        if log.exists():
            with closing(sqlite3.connect(log)) as rows:
                states.update(state for (state,) in rows.execute(PRESENT))
        kept = frozenset(path.name for path in job.glob("*/*.eml"))
        meanings = Counter(_meaning(mail, operation.opens) for mail in checker.stored_mail(box))
        return End(meanings, checker.waiting(box), states, kept)

    def copies(self) -> dict[str, list[tuple[object, ...]]]:
        """What is there of each message."""
        keys = (self.keys.old, self.keys.new)
        found: dict[str, list[tuple[object, ...]]] = {}
        for mail in checker.stored_mail(self.work / "box"):
            name = str(message_from_bytes(mail.raw)["Message-ID"])
            found.setdefault(name, []).append(_meaning(mail, keys))
        return found


class Judge:
    """Holds what an operation leaves after a fault against what it leaves without one."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name
        self._operation = stage.operations[name]
        stage.set(self._operation.state)
        self._before = stage.copies()
        self._first = stage.run(name)
        self._end = stage.end(self._operation)
        self._after = stage.copies()
        self._second = stage.run(name)
        assert {self._first.code, self._second.code} <= CODES, self._second.err
        assert stage.end(self._operation) == self._end

    def calls(self, *, workers: int = 0) -> list[Call]:
        """All that the operation makes; of the parent alone where there are no workers."""
        self._stage.set(self._operation.state)
        under = (self._stage.work / "box", self._stage.work / "job")
        return self._stage.run(self._name, Fault(act="", under=under), workers=workers).met

    def violations(self, trial: Trial, *, workers: int = 0) -> list[str]:
        """What does not hold after one fault; the call must have been reached."""
        for _ in range(TRIES):
            self._stage.set(self._operation.state)
            ended = self._stage.run(self._name, trial.fault(self._stage.work), workers=workers)
            self._stage.recover()
            if ended.met:
                break
        found = [] if ended.met else ["the call was not reached"]
        found += [f"at the fault: {text}" for text in self._told(ended, trial)]
        found += [f"at the fault: {text}" for text in self._lost()]
        if ended.code == 0 and self._stage.end(self._operation) != self._end:
            found.append(f"it ended with 0 and {self._stage.end(self._operation)}")
        again = self._stage.run(self._name)
        if again.code not in {self._first.code, self._second.code}:
            found.append(f"the second run ended with {again.code}: {again.err}")
        end = self._stage.end(self._operation)
        if end != self._end:
            found.append(f"the second run left {end} and not {self._end}")
        census = checker.census(self._stage.work / "box")
        third = self._stage.run(self._name)
        if third.code != self._second.code:
            found.append(f"the third run ended with {third.code}: {third.err}")
        if checker.census(self._stage.work / "box") != census:
            found.append("the third run changed something")
        return [f"{self._name}, {trial}: {text}" for text in found]

    def _told(self, ended: Ended, trial: Trial) -> Iterator[str]:
        text = ended.err + ended.out
        if "internal error in sectool" in text or "Traceback" in text:
            yield text
        if trial.way in {"kill", "tear", *CUTS} and ended.code == -9:
            return
        if ended.code not in CODES:
            yield f"it ended with {ended.code}: {text}"

    def _lost(self) -> Iterator[str]:
        now = self._stage.copies()
        for name, before in self._before.items():
            sound = {*before, *self._after[name]}
            if not 1 <= len(now.get(name, ())) <= 2 or not set(now[name]) <= sound:
                yield f"of {name} there is {now.get(name)}"
        if not set(now) <= set(self._before):
            yield f"there is other mail: {set(now) - set(self._before)}"


def note_figures(
    what: str, calls: Sequence[Call], tried: Sequence[Trial], violations: Sequence[str]
) -> None:
    """Adds a line to the file that SECTOOL_WRITE_FIGURES names: what docs/guarantees.md tells."""
    if target := os.environ.get("SECTOOL_WRITE_FIGURES"):
        ways = Counter("error" if trial.way.isupper() else trial.way for trial in tried)
        counts = "\t".join(f"{way} {ways[way]}" for way in sorted(ways))
        with Path(target).open("a", encoding="ascii") as figures:
            figures.write(f"{what}\t{len(calls)}\t{counts}\tviolations {len(violations)}\n")
