"""Replaces stored messages, a group at a time, so that none is ever without a whole copy.

The order is guarantee G1: originals kept; intents logged; new copies written;
made durable, read back, placed; logged; old copies looked at again and
removed; logged. What an interrupted run left between any two of these, or an
act that failed for a moment and may have been done all the same, is gone on
with in one way: the store is asked what lies there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sectool import durable, smime
from sectool.checkpoint import OriginalToKeep
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    SectoolError,
)
from sectool.joblog import Finished, OriginalRecord, Purpose, ReplacementRecord
from sectool.jobs.session.job import Job
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.stored_copy import known_as
from sectool.mailbox import (
    Add,
    Intent,
    Mailbox,
    Placed,
    Replace,
    Tries,
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
    Purpose.ROLLBACK: _Meaning(State.ROLLED_BACK, None, keeps_original=False),
    Purpose.DECRYPT: _Meaning(State.DECRYPTED, None, keeps_original=True),
    Purpose.RESTORE: _Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False),
}


_GONE = Path("/nonexistent")
"""Stands for the file of a new message that an earlier run wrote: it was swept."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One message on its way through a group."""

    new: NewMessage
    intent: Intent
    purpose: Purpose

    @property
    def is_at_hand(self) -> bool:
        """Whether the new bytes can be written once more."""
        return self.new.content.path != _GONE

    @property
    def meaning(self) -> _Meaning:
        return _MEANINGS[self.purpose]


def check_writable(mailbox: Mailbox, *, dry_run: bool) -> None:
    """Holds that messages can be replaced at all, before hours are spent on them.

    Each operation that writes passes here, whatever the store.

    Raises:
        ReadOnlyMailbox: they cannot.
    """
    if not (mailbox.capabilities.writable or dry_run):
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
    """

    def __init__(self, job: Job, mailbox: Mailbox, purpose: Purpose = Purpose.ENCRYPT) -> None:
        self._purpose = purpose
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._not_added: list[str] = []

    # --- a group --------------------------------------------------------------

    def carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces the messages of one group; each ends in the log, done or with its reason.

        Raises:
            NoSpace: disk or quota full; the old copies are all there.
            RunError: a sync failed; the old copies are all there.
        """
        if _MEANINGS[self._purpose].keeps_original:
            others = [new for new in group if not new.keeps_original]
            group = others + self._keep_originals([new for new in group if new.keeps_original])
        changes = [Replace(new.ref, new.content, new.revision) for new in group]
        self._see_through(self._intend(group, changes, self._purpose), self._bring_in)

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
        self._see_through(steps, self._bring_in)
        return list(self._not_added)

    def _see_through(
        self, steps: list[_Step], act: Callable[[list[_Step]], list[tuple[_Step, Placed]]]
    ) -> None:
        """Brings new copies in and removes old ones, and goes on where that fails for a moment."""
        tries = Tries()
        while steps:
            try:
                self._retire(act(steps))
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
        steps = [_Step(*pair, purpose) for pair in zip(group, intents, strict=True)]
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
        return placed

    def _log_placed(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        for step, _ in placed:
            if step.is_at_hand:
                self._remove_spooled(step.new.content.path)  # where it was copied, not renamed
        with self._log.group():
            for step, copy in placed:
                self._log.replacements.place(step.new.message, copy.ref)

    def _finish(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        """Nothing is to be retired, or it is gone: the new copies alone count from now on."""
        with self._log.group():
            for step, copy in placed:
                self._finish_one(step, copy)

    def _retire(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        self._finish([entry for entry in placed if entry[0].purpose is Purpose.RESTORE])
        placed = [entry for entry in placed if entry[0].purpose is not Purpose.RESTORE]
        answers = self._mailbox.retire([copy for _, copy in placed])
        with self._log.group():
            for (step, _), answer in zip(placed, answers, strict=True):
                if isinstance(answer, Placed):
                    self._finish_one(step, answer)
                else:
                    self._settle(step, answer)

    # --- what did not go as planned ----------------------------------------------

    def _settle(self, step: _Step, error: MessageError) -> None:
        """The old copy was not removed: nothing else is, and the message is reported.

        One of the two copies may have been moved by the user just now, so the log
        goes on saying that there are two: the next run looks what is left of them.
        """
        acted = isinstance(error, (MessageChanged, MessageVanished))
        state = State.CHANGED if acted else State.FAILED
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
        self._see_through([_step(record) for record in self._log.replacements.open()], self._go_on)
        for late in self._log.replacements.late():
            with contextlib.suppress(MessageError):  # it stays, and the next run meets it again
                self._remove_late(*late)

    def _go_on(self, steps: list[_Step]) -> list[tuple[_Step, Placed]]:
        """Ends what is done, does what is not, and answers what is left to be retired."""
        found = self._mailbox.find([step.intent for step in steps])
        retire: list[tuple[_Step, Placed]] = []
        finish: list[tuple[_Step, Placed]] = []
        missing: list[_Step] = []
        for step, where in zip(steps, found, strict=True):
            if where.unclear is not None:
                self._leave_open(step, where.unclear)
            elif where.placed is None:
                missing.append(step)
            elif where.old_present and step.purpose is not Purpose.RESTORE:
                retire.append((step, where.placed))
            else:
                finish.append((step, where.placed))
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
        step = _step(record)
        (late,) = self._mailbox.find([step.intent])
        if late.placed is None or late.placed.ref == other:
            return
        kept = self._mailbox.fetch(other)
        if identity not in known_as(smime.take_inventory(kept.content)):
            return
        intent = replace(
            step.intent,
            replaced=late.placed.ref,
            revision=late.placed.revision,
            digest=kept.content.digest,
            size=kept.content.size,
        )
        self._mailbox.retire([Placed(Written(intent, Flags()), kept.ref, kept.revision, "")])

    def _leave_open(self, step: _Step, error: MessageError) -> None:
        """Of copies that cannot be read none is made again, and none is taken for gone."""
        if step.purpose is not Purpose.RESTORE:  # else it is as lost as it was
            with self._log.group():
                self._settle(step, error)

    def _forget(self, step: _Step) -> None:
        """The new copy was never placed: the message stands as before."""
        self._mailbox.abandon([step.intent])
        with self._log.group():
            self._log.replacements.withdraw(step.new.message)


def meet_placed(job: Job, mailbox: Mailbox) -> None:
    """Finds the new copies that an earlier run placed and did not log, and those that came late.

    Before a walk, which would take them for further messages. What is not found
    stays open: it may lie elsewhere, and the walk knows it by its identity.
    """
    replacements = job.log.replacements
    steps = [_step(record) for record in replacements.open() if record.new is None]
    with job.log.group():
        abandoned = replacements.abandoned()
    intents = [step.intent for step in steps]
    intents += [_step(record).intent for record in abandoned.values()]
    if not intents:
        return
    found = [where.placed if where.unclear is None else None for where in mailbox.find(intents)]
    with job.log.group():
        for step, placed in zip(steps, found[: len(steps)], strict=True):
            if placed is not None:
                replacements.place(step.new.message, placed.ref)
        for number, placed in zip(abandoned, found[len(steps) :], strict=True):
            if placed is not None and not _is_known(job, placed.ref):
                replacements.meet_late(number, placed.ref)


def _is_known(job: Job, ref: MessageRef) -> bool:
    """Whether another try brought in what lies there."""
    return job.log.messages.at(ref) is not None or job.log.replacements.at(ref) is not None


def _record(step: _Step) -> ReplacementRecord:
    return ReplacementRecord(
        message=step.new.message,
        purpose=step.purpose,
        old=step.intent.replaced,
        old_revision=step.intent.revision,
        folder=step.intent.folder,
        where=step.intent.where,
        new=None,
        new_digest=step.intent.digest,
        new_size=step.intent.size,
        new_identity=step.new.identity,
        new_opens_to=step.new.opens_to,
    )


def _step(record: ReplacementRecord) -> _Step:
    intent = Intent(
        replaced=record.old,
        revision=record.old_revision,
        folder=record.folder,
        where=record.where,
        met=record.new,
        digest=record.new_digest,
        size=record.new_size,
    )
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
    return _Step(new, intent, record.purpose)
