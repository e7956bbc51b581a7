"""One message, a run that is killed, and an owner who acts: what there is in the end is judged."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from sectool import jobs
from sectool.crashpoints import install
from sectool.errors import SectoolError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.one_file_world import fill_one_file
from tests.support.owner import ACTS, ARCHIVE, COPIES, TAG, Owner, Wanted
from tests.support.specifications import Fields, fitting, specification

ID = b"<7@example.org>"
"""Message-ID of the message that the owner acts on; a second one lies in the inbox."""

WORK = "Work"


@dataclass(frozen=True)
class Operation:
    """What is killed, what came before it, and what its messages are in the end."""

    name: str
    before: tuple[tuple[str, Fields], ...]
    run: tuple[str, Fields]
    state: State
    lies: str
    """The message in the end: ``old`` or ``new`` for the key that opens it, or ``clear``."""


_IN_PLACE: tuple[str, Fields] = ("decrypt", {"in_place": True})

OPERATIONS = {
    one.name: one
    for one in (
        Operation("decrypt in place", (), _IN_PLACE, State.DECRYPTED, "clear"),
        Operation("encrypt", (("decrypt", {}),), ("encrypt", {}), State.REENCRYPTED, "new"),
        Operation("encrypt from clear", (_IN_PLACE,), ("encrypt", {}), State.REENCRYPTED, "new"),
        Operation("rewrap", (), ("rewrap", {}), State.REWRAPPED, "new"),
        Operation(
            "rollback",
            (("decrypt", {}), ("encrypt", {})),
            ("rollback", {}),
            State.ROLLED_BACK,
            "old",
        ),
        Operation("rollback from clear", (_IN_PLACE,), ("rollback", {}), State.ROLLED_BACK, "old"),
        Operation("decrypt", (), ("decrypt", {}), State.CHECKPOINTED, "old"),
        Operation(
            "verify",
            (("decrypt", {}), ("encrypt", {})),
            ("verify", {}),
            State.REENCRYPTED,
            "new",
        ),
        Operation(
            "rollback to clear",
            (_IN_PLACE, ("encrypt", {})),
            ("rollback", {"to_stage": "decrypted"}),
            State.DECRYPTED,
            "clear",
        ),
    )
}


@dataclass(frozen=True)
class Case:
    """When the run dies, and what the owner does."""

    point: int
    """The owner acts here, counted from 1."""
    act: str
    which: str
    """``old`` or ``new``: the copy; another where it is the only one; ``both``: all there are."""
    kill: int | None
    """Where the run dies; None: it goes on to its end."""
    then: str = ""
    """What the owner does to the same kind of copy once the run is dead."""
    is_dead: bool = False
    """The owner acts after the kill at ``point``."""


class OwnerTrial:
    """A mailbox and a job as they are before a run, put back for each case.

    Args:
        directory: for both; made.
        kind: ``maildir``, or one of ``checker.KINDS``.
        operation: of ``OPERATIONS``.
        keys: of the owner.
    """

    def __init__(self, directory: Path, kind: str, operation: str, keys: Keys) -> None:
        self.kind = kind
        self.operation = OPERATIONS[operation]
        self._keys = keys
        self._kept = directory.with_name(f"{directory.name}-kept")
        self._directory = directory
        self.mailbox = directory / "mailbox"
        directory.mkdir()
        maildir = self.mailbox if kind == "maildir" else directory / "filled"
        mail = [
            Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
            Mail(f".{WORK}", "cur/1300000007.M7P1.host:2,S", encrypted(7, keys.old)),
        ]
        fill(maildir, mail)
        if kind != "maildir":
            fill_one_file(self.mailbox, kind, maildir)
        for name, changes in self.operation.before:
            jobs.run(self.run_of(name, **changes))
        directory.rename(self._kept)
        self.passed = self._points()

    def run_of(
        self, operation: str, mailbox: str = "", **changes: Unpack[Fields]
    ) -> jobs.Specification:
        usual: Fields = {
            "job": self._directory / "job",
            "keys": KeySpecification((self._keys.history,)),
            "new_certificates": (self._keys.new.certificate,),
            "workers": 0,
        }
        location = mailbox or f"{self.kind}:{self.mailbox}"
        return specification(operation, location, **fitting(operation, usual, changes))

    @property
    def spec(self) -> jobs.Specification:
        name, changes = self.operation.run
        return self.run_of(name, **changes)

    def put_back(self) -> None:
        if self._directory.exists():
            shutil.rmtree(self._directory)
        shutil.copytree(self._kept, self._directory)

    def _points(self) -> list[tuple[str, str]]:
        self.put_back()
        trace = self._directory.with_name(f"{self._directory.name}-trace")
        trace.unlink(missing_ok=True)

        def hook(name: str) -> None:
            with trace.open("a", encoding="ascii") as stream:
                stream.write(f"{name} {crash.digest_of(self._directory)}\n")

        assert crash.in_child_with(hook, lambda: jobs.run(self.spec)) == 0
        lines = trace.read_text(encoding="ascii").splitlines()
        return [(name, digest) for name, digest in map(str.split, lines)]

    def distinct(self) -> list[int]:
        """Numbers of points, counted from 1, before each of which something changed on disk."""
        first: dict[str, int] = {}
        for number, (_, state) in enumerate(self.passed, 1):
            first.setdefault(state, number)
        return sorted(first.values())

    def last(self, name: str) -> int:
        """Number of the last passing of a point."""
        return max(number for number, (one, _) in enumerate(self.passed, 1) if one == name)

    # --- a case ---------------------------------------------------------------------

    def judge(self, case: Case) -> str:
        """What is wrong in the end; empty: nothing is."""
        self.put_back()
        owner = self.owner()
        wanted = Wanted({WORK}, {"S"})
        note = self._directory / "acted"

        def act() -> None:
            if not case.is_dead and self._act(owner, case.act, case.which, Wanted(set(), set())):
                note.touch()

        def run() -> None:
            try:
                jobs.run(self.spec)
            except SectoolError as error:
                note.with_name("error").write_text(f"{type(error).__name__}: {error}")

        code = crash.in_child_with(_hook(case, act), run)
        if (error := note.with_name("error")).exists():
            return f"the first run: {error.read_text()}"
        if code not in {0, -signal.SIGKILL}:
            return f"the first run ended with {code}"
        if note.exists():
            # What it meant is noted again, in this process.
            self._expect(case.act, wanted, is_alone=not owner.copies())
        elif case.is_dead:
            self._act(owner, case.act, case.which, wanted)
        if case.then:
            self._act(owner, case.then, case.which, wanted)
        return self.end(owner, wanted, was_killed=case.kill is not None)

    def judge_resumed(self, kill: int, point: int, act: str, which: str) -> str:
        """The same where the owner acts at a point of the run after the one that was killed.

        Returns:
            What is wrong; ``-`` where that run passes no such point, or there is no such copy.
        """
        self.put_back()
        owner = self.owner()
        wanted = Wanted({WORK}, {"S"})
        note = self._directory / "acted"
        crash.in_child_with(_hook(Case(0, "", "", kill), lambda: None), lambda: jobs.run(self.spec))

        def do() -> None:
            if self._act(owner, act, which, Wanted(set(), set())):
                note.touch()

        crash.in_child_with(_hook(Case(point, act, which, None), do), lambda: jobs.run(self.spec))
        if not note.exists():
            return "-"
        self._expect(act, wanted, is_alone=not owner.copies())
        return self.end(owner, wanted)

    def judge_killed_again(self, kill: int, act: str, which: str, name: str) -> str:
        """The same where the owner acts after the kill, and the next run dies at a named point.

        Returns:
            What is wrong; ``-`` where that run passes no such point, or there is no such copy.
        """
        self.kill(kill)
        owner, wanted = self.owner(), Wanted({WORK}, {"S"})
        if not self._act(owner, act, which, wanted):
            return "-"

        def at(passed: str) -> None:
            if passed == name:
                os.kill(os.getpid(), signal.SIGKILL)

        code = crash.in_child_with(at, lambda: jobs.run(self.spec))
        return self.end(owner, wanted) if code == -signal.SIGKILL else "-"

    def kill(self, point: int) -> None:
        """Leaves the mailbox and the job as a run leaves them that dies at this point."""
        self.put_back()
        run = Case(0, "", "", point)
        crash.in_child_with(_hook(run, lambda: None), lambda: jobs.run(self.spec))

    def judge_renamed_behind(self, kill: int) -> str:
        """The same where the old copy is moved, and its former folder renamed with the new one."""
        self.put_back()
        owner, wanted = self.owner(), Wanted({WORK}, {"S"})
        self.kill(kill)
        self._act(owner, "move", "old", wanted)
        owner.rename_folder(WORK, "Renamed")
        return self.end(owner, wanted)

    def judge_moved_by_server(self, point: int) -> str:
        """The same where a server gives the old copy its new name, and later takes its old one."""
        self.put_back()
        owner, wanted = self.owner(), Wanted({ARCHIVE}, {"S"})

        def begin() -> None:
            for mail in owner.copies("old"):
                owner.begin_move(mail, ARCHIVE)

        crash.in_child_with(_hook(Case(point, "", "", None), begin), lambda: jobs.run(self.spec))
        for mail in owner.copies("old"):
            if mail.folder == WORK:
                owner.delete(mail)
        return self.end(owner, wanted)

    def owner(self) -> Owner:
        owner = Owner(self.mailbox, self.kind, ID, set())
        return Owner(self.mailbox, self.kind, ID, {mail.raw for mail in owner.copies()})

    def _act(self, owner: Owner, act: str, which: str, wanted: Wanted) -> bool:
        copies = owner.copies("all") if which == "both" else owner.copies(which)[:1]
        if not copies:
            return False
        for mail in copies:
            ACTS[act](owner, mail, wanted)
        if act == "mark as deleted" and which == "old":
            wanted.is_marked_old = True
        return True

    def _expect(self, act: str, wanted: Wanted, *, is_alone: bool) -> None:
        """As the act itself notes it."""
        nobody = _Nobody(is_alone)
        ACTS[act](nobody, _SOME, wanted)  # type: ignore[arg-type]
        if act == "mark as deleted":
            wanted.is_marked_old = True
        if act == "delete":
            wanted.copies = (0, 1)

    def end(self, owner: Owner, wanted: Wanted, *, was_killed: bool = False) -> str:
        """Runs three times, and judges."""
        census = []
        for number in (1, 2, 3):
            try:
                summary = jobs.run(self.spec)
            except SectoolError as error:
                return f"run {number}: {type(error).__name__}: {error}"
            census.append(checker.census(self.mailbox))
        problems = [*self._of_copies(owner, wanted, summary), *self._of_others(summary)]
        if census[1] != census[2]:
            problems.append("the third run changed something")
        if was_killed and census[0] != census[1]:
            problems.append("the second run changed something")
        return "; ".join(problems)

    def _of_copies(self, owner: Owner, wanted: Wanted, summary: Summary) -> Iterator[str]:
        copies = owner.copies()
        least, most = wanted.copies
        if wanted.is_marked_old and len(copies) == 2:
            if summary.exit_code != 3:
                yield f"two copies, and exit {summary.exit_code}"
            return
        if not least <= len(copies) <= most:
            yield f"{len(copies)} copies, {[(c.folder, c.base_name, c.flags) for c in copies]}"
        # What its owner copies is a message of its own, which a rollback has no original of.
        own = [mail for mail in copies if mail.folder != COPIES]
        for mail in own:
            if mail.folder not in wanted.folders:
                yield f"it lies in {mail.folder}, not in {wanted.folders}"
            if set(mail.flags) != wanted.flags:
                yield f"it has the flags {mail.flags}, not {wanted.flags}"
            # Of the header of a plaintext a rollback keeps nothing: a server may have made it.
            keeps_header = self.operation.name != "rollback from clear"
            if keeps_header and (TAG in mail.raw) != wanted.is_tagged:
                yield f"its Subject is {'' if TAG in mail.raw else 'not '}tagged"
        for mail in own if "rollback" in self.operation.name else copies:
            if (lies := self.lies(mail)) != self.operation.lies:
                yield f"it lies {lies}"
        done = summary.counts[self.operation.state]
        if done < 1 + len(own) or summary.messages < 1 + len(copies):
            yield f"counts {_told(summary)}"
        if own == copies and own and (summary.exit_code or done != 1 + len(own)):
            yield f"exit {summary.exit_code} with {_told(summary)}"

    def _of_others(self, summary: Summary) -> Iterator[str]:
        others = [m for m in checker.stored_mail(self.mailbox) if b"<1@example.org>" in m.raw]
        if [self.lies(mail) for mail in others] != [self.operation.lies]:
            yield "the other message"
        if waiting := checker.waiting(self.mailbox):
            yield f"{waiting} copies wait in tmp"
        if sum(summary.counts.values()) != summary.messages:
            yield f"{summary.messages} messages, {_told(summary)}"

    def lies(self, mail: checker.StoredMail) -> str:
        if not checker.envelopes(mail.raw):
            return "clear"
        if all(checker.inner_digests(mail.raw, [self._keys.new])):
            return "new"
        return "old" if all(checker.inner_digests(mail.raw, [self._keys.old])) else "shut"


def _hook(case: Case, act: Callable[[], None]) -> Callable[[str], None]:
    passed = 0

    def at(_: str) -> None:
        nonlocal passed
        passed += 1
        if passed == case.point:
            install(None)  # what the owner does passes no point
            act()
            install(at)
        if passed == case.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def _told(summary: Summary) -> dict[str, int]:
    return {str(state): count for state, count in summary.counts.items() if count}


class _Nobody:
    """Acts on nothing."""

    def __init__(self, is_alone: bool) -> None:
        self._is_alone = is_alone

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *_: [] if self._is_alone else [_SOME]


_SOME = checker.StoredMail(WORK, "", "", 0, 0, b"")
