"""Replaces stored messages, a group at a time, so that none is ever without a whole copy.

The order is guarantee G1: originals kept; intents logged; new copies written;
made durable, read back, placed; logged; old copies looked at again and
removed; logged. What an interrupted run left between any two of these, or an
act that failed for a moment and may have been done all the same, is gone on
with in one way: the store is asked what lies there. Where the store writes whole
folders, the old copies wait until the messages of a folder are through: what is
finished lies durably beside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sectool import durable
from sectool.checkpoint import OriginalToKeep
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    SectoolError,
)
from sectool.joblog import Finished, OriginalRecord, Purpose, ReplacementRecord
from sectool.jobs.replacing.in_flight import find_copies, intent_of
from sectool.jobs.session.job import Job
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.stored_copy import CopyTask, KnownCopy, look_at_copies
from sectool.mailbox import (
    NOTHING,
    Add,
    Intent,
    Keeps,
    Mailbox,
    Placed,
    Replace,
    Retirement,
    Tries,
    Unit,
    Written,
)
from sectool.message import FileContent, Flags, MessageRef
from sectool.outcome import Proof, State


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What it means that a replacement is finished."""

    state: State
    proof: Proof | None
    keeps_original: bool
    """Whether the copy that is replaced must be kept first."""


_MEANINGS = {
    Purpose.ENCRYPT: _Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=True),
    Purpose.REWRAP: _Meaning(State.REWRAPPED, Proof.STRUCTURAL, keeps_original=True),
    Purpose.ROLLBACK: _Meaning(State.ROLLED_BACK, None, keeps_original=False),
    Purpose.DECRYPT: _Meaning(State.DECRYPTED, None, keeps_original=True),
    Purpose.RESTORE: _Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False),
}


_ACTED = (MessageChanged, MessageVanished)
"""What tells that somebody did something to the message meanwhile."""

_GONE = Path("/nonexistent")
"""Stands for the file of a new message that an earlier run wrote: it was swept."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One message on its way through a group."""

    new: NewMessage
    intent: Intent
    purpose: Purpose
    original: str = ""
    """As ``ReplacementRecord`` has it, of what an earlier run left."""

    @property
    def is_at_hand(self) -> bool:
        """Whether the new bytes can be written once more."""
        return self.new.content.path != _GONE

    @property
    def meaning(self) -> _Meaning:
        return _MEANINGS[self.purpose]


def check_writable(mailbox: Mailbox) -> None:
    """Holds that messages can be replaced at all, before hours are spent on them.

    Raises:
        ReadOnlyMailbox: they cannot.
    """
    if not mailbox.capabilities.writable:
        raise ReadOnlyMailbox(
            f"the mailbox {mailbox.specification.location} cannot be written",
            hint="check its owner, mode and mount options",
        )


class Replacer:
    """Carries out replacements on one mailbox for one job.

    Args:
        job: whose messages are replaced.
        mailbox: where they are now.
        purpose: of what ``carry_out`` does; ``recover`` ends those of any purpose.
        workers: processes that look at copies; 0: this one.
    """

    def __init__(
        self, job: Job, mailbox: Mailbox, purpose: Purpose = Purpose.ENCRYPT, *, workers: int
    ) -> None:
        self._purpose = purpose
        self._workers = workers
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._not_added: list[str] = []
        self._of_folder: list[tuple[_Step, Placed]] = []
        """Placed beside a folder that is written anew at once."""

    # --- a group --------------------------------------------------------------

    def carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces the messages of one group; each ends in the log, done or with its reason.

        Where the store writes whole folders, those of the last folder end with the next group
        that has none of it, or with ``finish``; the groups come ordered by folder.

        Raises:
            NoSpace: disk or quota full; the old copies are all there.
            RunError: a sync failed; the old copies are all there.
        """
        last = group[-1].ref.folder
        if _MEANINGS[self._purpose].keeps_original:
            others = [new for new in group if not new.keeps_original]
            group = others + self._keep_originals([new for new in group if new.keeps_original])
        changes = [Replace(new.ref, new.content, new.revision) for new in group]
        steps = self._intend(group, changes, self._purpose)
        if self._mailbox.capabilities.unit is Unit.MESSAGE:
            self._see_through(steps, self._bring_in, self._retire)
            return
        self._see_through(steps, self._bring_in, self._of_folder.extend)
        self._retire_beside(but=last)

    def finish(self) -> None:
        """Ends what waits for the rest of its folder; after the last group.

        Raises:
            RunError: a sync failed; the old copies are all there.
        """
        self._retire_beside()

    def _retire_beside(self, *, but: str = "") -> None:
        ready = [one for one in self._of_folder if one[1].ref.folder != but]
        self._of_folder = [one for one in self._of_folder if one[1].ref.folder == but]
        self._see_through([step for step, _ in ready], lambda _: ready, self._retire)

    def add(self, group: Sequence[tuple[NewMessage, Add]]) -> list[str]:
        """Puts messages into the mailbox that take the place of none.

        Returns:
            Why some were not, one reason each; the log says of them what it said before.

        Raises:
            NoSpace: disk or quota full; nothing was added.
            RunError: a sync failed; what was added is found when the run is resumed.
        """
        self._not_added.clear()
        changes = [addition for _, addition in group]
        steps = self._intend([new for new, _ in group], changes, Purpose.RESTORE)
        self._see_through(steps, self._bring_in, self._retire)
        return list(self._not_added)

    def _see_through(
        self,
        steps: list[_Step],
        act: Callable[[list[_Step]], list[tuple[_Step, Placed]]],
        end: Callable[[list[tuple[_Step, Placed]]], None],
    ) -> None:
        """Brings new copies in and removes old ones, and goes on where that fails for a moment."""
        tries = Tries()
        while steps:
            try:
                end(act(steps))
            except SectoolError as error:
                tries.wait_after(error)
                steps = [each for each in steps if self._log.replacements.is_open(each.new.message)]
                act = self._go_on
            else:
                return

    def _keep_originals(self, group: Sequence[NewMessage]) -> list[NewMessage]:
        keep: list[tuple[NewMessage, OriginalToKeep, OriginalRecord]] = []
        for new in group:
            try:
                stored = self._mailbox.fetch(new.ref)
            except MessageError as error:
                self._give_up(new, State.CHANGED, error.message)
                continue
            if stored.revision != new.revision:
                self._give_up(new, State.CHANGED, "it was changed while its new copy was made")
                continue
            original = OriginalToKeep(
                stored.content.digest, stored.content, self._mailbox.file_of(new.ref)
            )
            record = OriginalRecord(
                new.message,
                original.digest,
                stored.content.size,
                new.ref.folder,
                stored.internal_date.isoformat(),
            )
            keep.append((new, original, record))
        refused = self._job.originals.keep([original for _, original, _ in keep])
        for new, original, _ in keep:
            if original.digest in refused:
                self._give_up(new, State.CHANGED, refused[original.digest].message)
        kept = [entry for entry in keep if entry[1].digest not in refused]
        with self._log.group():
            for _, _, record in kept:
                self._log.replacements.keep_original(record)
        return [new for new, _, _ in kept]

    def _intend(
        self, group: Sequence[NewMessage], changes: Sequence[Replace | Add], purpose: Purpose
    ) -> list[_Step]:
        intents = self._mailbox.intend(changes)
        steps = [
            _Step(new, intent, Purpose.REWRAP if new.is_rewrapped else purpose)
            for new, intent in zip(group, intents, strict=True)
        ]
        with self._log.group():
            for step in steps:
                self._log.replacements.announce(_record(step))
                if step.new.note:
                    self._log.messages.note_step(step.new.message, step.new.note)
        return steps

    def _bring_in(self, steps: Sequence[_Step]) -> list[tuple[_Step, Placed]]:
        """Writes and places the new copies; what was written by a worker is kept until then."""
        answers = self._mailbox.write([(step.intent, step.new.content) for step in steps])
        written: list[tuple[_Step, Written]] = []
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(answer, Written):
                written.append((step, answer))
            else:
                self._withdraw(step, State.CHANGED, answer.message)
        return self._place(written)

    def _place(self, written: Sequence[tuple[_Step, Written]]) -> list[tuple[_Step, Placed]]:
        answers = self._mailbox.place([copy for _, copy in written])
        placed: list[tuple[_Step, Placed]] = []
        for (step, _), answer in zip(written, answers, strict=True):
            if isinstance(answer, Placed):
                placed.append((step, answer))
            else:
                self._withdraw(step, State.FAILED, answer.message)
        self._log_placed(placed)
        return self._proven(placed)

    def _proven(self, placed: Sequence[tuple[_Step, Placed]]) -> list[tuple[_Step, Placed]]:
        """Those whose new copy is what was written, where the store may have rewritten it."""
        if self._mailbox.capabilities.keeps is Keeps.EXACT:
            return list(placed)
        tasks = [CopyTask(copy.ref, step.intent.size) for step, copy in placed]
        looks = look_at_copies(self._mailbox, tasks, workers=self._workers)
        proven: list[tuple[_Step, Placed]] = []
        for step, copy in placed:
            look = looks[copy.ref]
            if isinstance(look, KnownCopy) and step.new.identity in look.names:
                proven.append((step, copy))
            elif isinstance(look, KnownCopy):
                self._take_back(step, copy)
            else:
                self._leave_open(step, MessageError(look.reason))
        return proven

    def _take_back(self, step: _Step, copy: Placed) -> None:
        """Removes a new copy that the store made something else of; the old one stays.

        It is this very copy: the store said a moment ago where it put it.
        """
        reason = "the mailbox made something else of the new copy"
        old, new = step.intent.replaced, copy.ref
        if old == NOTHING:
            self._not_added.append(reason)
            return
        swapped = replace(step.intent, replaced=new, revision=copy.revision)
        stays = Placed(replace(copy.written, intent=swapped), old, step.intent.revision, "")
        (answer,) = self._mailbox.retire([stays])
        if isinstance(answer, Placed):
            self._withdraw(step, State.FAILED, reason)
        else:
            self._leave_open(step, answer)

    def _log_placed(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        for step, _ in placed:
            if step.is_at_hand:
                self._remove_spooled(step.new.content.path)  # where it was copied, not renamed
        with self._log.group():
            for step, copy in placed:
                is_beside = copy.ref == step.intent.replaced
                self._log.replacements.place(step.new.message, None if is_beside else copy.ref)

    def _finish(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        """Nothing is to be retired, or it is gone: the new copies alone count from now on."""
        with self._log.group():
            for step, copy in placed:
                self._finish_one(step, copy)

    def _retire(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        self._finish([entry for entry in placed if entry[0].purpose is Purpose.RESTORE])
        placed = [entry for entry in placed if entry[0].purpose is not Purpose.RESTORE]
        answers = self._mailbox.retire([copy for _, copy in placed])
        withdrawn: list[tuple[_Step, MessageError]] = []
        with self._log.group():
            for (step, _), answer in zip(placed, answers, strict=True):
                if isinstance(answer, Placed):
                    self._finish_one(step, answer)
                elif self._is_one_copy and isinstance(answer, _ACTED):
                    withdrawn.append((step, answer))
                else:
                    self._settle(step, answer)
        for step, error in withdrawn:
            self._withdraw(step, State.CHANGED, error.message)

    @property
    def _is_one_copy(self) -> bool:
        """Whether what is placed and cannot come in is seen by nobody, so that it may go."""
        return self._mailbox.capabilities.retirement is Retirement.RENAME

    # --- what did not go as planned ----------------------------------------------

    def _settle(self, step: _Step, error: MessageError) -> None:
        """The old copy was not removed: nothing else is, and the message is reported.

        One of the two copies may have been moved by the user just now, so the log
        goes on saying that there are two: the next run looks what is left of them.
        """
        state = State.CHANGED if isinstance(error, _ACTED) else State.FAILED
        self._log.messages.advance(step.new.message, state, reason=error.message)

    def _withdraw(self, step: _Step, state: State, reason: str) -> None:
        self._mailbox.abandon([step.intent])
        self._remove_spooled(step.new.content.path)
        with self._log.group():
            self._log.replacements.withdraw(step.new.message)
            if step.purpose is Purpose.RESTORE:
                self._not_added.append(reason)  # it is as lost as it was
            else:
                self._log.messages.advance(step.new.message, state, reason=reason)

    def _give_up(self, new: NewMessage, state: State, reason: str) -> None:
        self._remove_spooled(new.content.path)
        with self._log.group():
            self._log.messages.advance(new.message, state, reason=reason)

    def _remove_spooled(self, path: Path) -> None:
        with durable.explained("remove a new message that is not wanted"):
            durable.unlink(path, "spool.discard", missing_ok=True)

    def _finish_one(self, step: _Step, copy: Placed) -> None:
        finished = Finished(
            message=step.new.message,
            ref=copy.ref,
            hint=copy.hint,
            size=step.intent.size,
            identity=step.new.identity,
            proof=step.meaning.proof,
        )
        self._log.replacements.finish(finished, state=step.meaning.state)

    # --- after an interruption -----------------------------------------------------

    def recover(self) -> None:
        """Brings the replacements that an earlier run left open to an end.

        After the walk: it has given each the places where its two copies are now,
        wherever the mailbox or the user moved them.
        """
        steps = [_step(record) for record in self._log.replacements.open()]
        self._see_through(steps, self._go_on, self._retire)
        for late in self._log.replacements.late():
            with contextlib.suppress(MessageError):  # it stays, and the next run meets it again
                self._remove_late(*late)

    def _go_on(self, steps: list[_Step]) -> list[tuple[_Step, Placed]]:
        """Ends what is done, does what is not, and answers what is left to be retired."""
        found = find_copies(self._mailbox, [_record(step) for step in steps], workers=self._workers)
        retire: list[tuple[_Step, Placed]] = []
        finish: list[tuple[_Step, Placed]] = []
        missing: list[_Step] = []
        for step, copies in zip(steps, found, strict=True):
            if copies.unclear is not None:
                self._leave_open(step, copies.unclear)
            elif copies.new is None:
                missing.append(step)
            elif copies.old_present and step.purpose is not Purpose.RESTORE:
                retire.append((step, copies.new))
            else:
                finish.append((step, copies.new))
        self._log_placed([*finish, *retire])
        self._finish(finish)
        return retire + self._bring_in_again(missing)

    def _bring_in_again(self, steps: Sequence[_Step]) -> list[tuple[_Step, Placed]]:
        """What is not at hand any more was never placed, and its message stands as before."""
        at_hand = [step for step in steps if step.is_at_hand]
        with self._log.group():
            for step in at_hand:
                self._log.replacements.expect_late(step.new.message)
        for step in steps:
            if not step.is_at_hand:
                self._forget(step)
        return self._bring_in(at_hand) if at_hand else []

    def _remove_late(self, record: ReplacementRecord, other: MessageRef, identity: str) -> None:
        """Removes a copy that turned up after its message was replaced another time.

        It is one of two whole ones: the other is looked at here, and by the store once more.
        """
        (late,) = find_copies(self._mailbox, [record], workers=self._workers)
        if late.new is None or late.new.ref == other:
            return
        tasks = [CopyTask(other, record.new_size)]
        look = look_at_copies(self._mailbox, tasks, workers=self._workers)[other]
        if not isinstance(look, KnownCopy) or identity not in look.names:
            return
        intent = replace(
            intent_of(record),
            replaced=late.new.ref,
            revision=late.new.revision,
            digest=look.digest,
        )
        self._mailbox.retire([Placed(Written(intent, Flags()), other, look.revision, "")])

    def _leave_open(self, step: _Step, error: MessageError) -> None:
        """Of copies that cannot be read none is made again, and none is taken for gone."""
        if step.purpose is Purpose.RESTORE:
            self._not_added.append(error.message)  # it is as lost as it was
            return
        with self._log.group():
            self._settle(step, error)

    def _forget(self, step: _Step) -> None:
        """The new copy was never placed: the message stands as before."""
        self._mailbox.abandon([step.intent])
        with self._log.group():
            self._log.replacements.withdraw(step.new.message)


def _record(step: _Step) -> ReplacementRecord:
    return ReplacementRecord(
        message=step.new.message,
        purpose=step.purpose,
        old=step.intent.replaced,
        old_revision=step.intent.revision,
        folder=step.intent.folder,
        where=step.intent.where,
        new=step.intent.met,
        new_digest=step.intent.digest,
        new_size=step.intent.size,
        new_identity=step.new.identity,
        new_opens_to=step.new.opens_to,
        original=step.original,
    )


def _step(record: ReplacementRecord) -> _Step:
    # The file it was written to is gone or swept by its name; only its place
    # in the mailbox counts now.
    content = FileContent(_GONE, known_digest=record.new_digest)
    new = NewMessage(
        record.message,
        record.old,
        record.old_revision,
        content,
        record.new_identity,
        opens_to=record.new_opens_to,
    )
    return _Step(new, intent_of(record), record.purpose, record.original)
