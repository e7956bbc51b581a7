"""Replaces stored messages, a group at a time, so that none is ever without a whole copy.

The order is guarantee G1: originals kept; intents logged; new copies written;
made durable, read back, placed; logged; old copies looked at again and
removed; logged. ``recover`` picks up what an interrupted run left between
any two of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sectool import durable
from sectool.checkpoint import OriginalToKeep
from sectool.errors import MessageChanged, MessageError, MessageVanished, ReadOnlyMailbox
from sectool.joblog import Purpose, ReplacementRecord
from sectool.jobs.session.job import Job
from sectool.jobs.work.new_message import NewMessage
from sectool.mailbox import (
    Add,
    Mailbox,
    Placed,
    Replace,
    Written,
)
from sectool.message import Flags, Listing
from sectool.outcome import MessageDigest, Proof, State


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
    Purpose.BRING_BACK: _Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False),
}


@dataclass(frozen=True, slots=True)
class _Step:
    """One message on its way through a group."""

    record: ReplacementRecord
    new: NewMessage | None = None
    """None after an interruption: only what the log and the mailbox have of it counts then."""

    @property
    def message(self) -> int:
        return self.record.message

    @property
    def is_addition(self) -> bool:
        return self.record.purpose is Purpose.BRING_BACK


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
        changes = [Replace(new.ref, new.written.content, new.revision) for new in group]
        self._retire(self._bring_in(self._intend(group, changes, self._purpose)))

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
        steps = self._intend([new for new, _ in group], changes, Purpose.BRING_BACK)
        self._finish(self._bring_in(steps))
        return list(self._not_added)

    def _keep_originals(self, group: Sequence[NewMessage]) -> list[NewMessage]:
        keep: list[tuple[NewMessage, OriginalToKeep]] = []
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
                MessageDigest(stored.content.digest), stored.content, self._mailbox.file_of(new.ref)
            )
            keep.append((new, original))
        refused = self._job.originals.keep([original for _, original in keep])
        for new, original in keep:
            if original.digest in refused:
                self._give_up(new, State.CHANGED, refused[original.digest].message)
        kept = [entry for entry in keep if entry[1].digest not in refused]
        with self._log.group():
            for new, original in kept:
                self._log.replacements.keep_original(new.message, original.digest)
        return [new for new, _ in kept]

    def _intend(
        self, group: Sequence[NewMessage], changes: Sequence[Replace | Add], purpose: Purpose
    ) -> list[_Step]:
        intents = self._mailbox.intend(changes)
        steps: list[_Step] = []
        with self._log.group():
            for new, intent in zip(group, intents, strict=True):
                written = new.written
                record = ReplacementRecord(
                    new.message, purpose, intent, written.identity, written.opens_to
                )
                self._log.replacements.intend(record)
                if new.note:
                    self._log.messages.note_step(new.message, new.note)
                steps.append(_Step(record, new))
        return steps

    def _bring_in(self, steps: Sequence[_Step]) -> list[tuple[_Step, Placed]]:
        """Writes and places the new copies; what was written by a worker is kept until then."""
        answers = self._mailbox.write(
            [(step.record.intent, step.new.written.content) for step in steps if step.new]
        )
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
                self._remove_spooled(step.new)  # where it was copied, not renamed
            else:
                self._withdraw(step, State.FAILED, answer.message)
        self._log_placed(placed)
        return placed

    def _log_placed(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        with self._log.group():
            for step, copy in placed:
                self._log.replacements.place(step.message, copy.ref)

    def _finish(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        """Nothing is to be retired, or it is gone: the new copies alone count from now on."""
        with self._log.group():
            for step, copy in placed:
                self._finish_one(step, copy)

    def _retire(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
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
        self._log.messages.advance(step.message, state, reason=error.message)

    def _withdraw(self, step: _Step, state: State, reason: str) -> None:
        self._mailbox.abandon([step.record.intent])
        self._remove_spooled(step.new)
        with self._log.group():
            self._log.replacements.withdraw(step.message)
            if step.is_addition:
                self._not_added.append(reason)  # it is as lost as it was
            else:
                self._log.messages.advance(step.message, state, reason=reason)

    def _give_up(self, new: NewMessage, state: State, reason: str) -> None:
        self._remove_spooled(new)
        with self._log.group():
            self._log.messages.advance(new.message, state, reason=reason)

    def _remove_spooled(self, new: NewMessage | None) -> None:
        if new is not None:
            with durable.explained("remove a new message that is not wanted"):
                durable.unlink(new.written.content.path, "spool.discard", missing_ok=True)

    def _finish_one(self, step: _Step, copy: Placed) -> None:
        meaning = _MEANINGS[step.record.purpose]
        listing = Listing(copy.ref, step.record.intent.size, Flags(), copy.hint)
        self._log.replacements.finish(
            step.message, listing, state=meaning.state, proof=meaning.proof
        )

    # --- after an interruption -----------------------------------------------------

    def recover(self) -> None:
        """Brings the replacements that an earlier run left open to an end.

        After the walk: it has given each the places where its two copies are now,
        wherever the mailbox or the user moved them.
        """
        steps = [_Step(record) for record in self._log.replacements.open()]
        found = self._mailbox.find([step.record.intent for step in steps])
        retire: list[tuple[_Step, Placed]] = []
        finish: list[tuple[_Step, Placed]] = []
        for step, where in zip(steps, found, strict=True):
            if where.unclear is not None:
                self._leave_open(step, where.unclear)
            elif where.placed is None:
                self._forget(step)
            elif where.old_present and not step.is_addition:
                retire.append((step, where.placed))
            else:
                finish.append((step, where.placed))
        self._log_placed([*finish, *retire])
        self._finish(finish)
        self._retire(retire)

    def _leave_open(self, step: _Step, error: MessageError) -> None:
        """Of copies that cannot be read none is made again, and none is taken for gone."""
        if not step.is_addition:  # else it is as lost as it was
            with self._log.group():
                self._settle(step, error)

    def _forget(self, step: _Step) -> None:
        """The new copy was never placed: the message stands as before."""
        self._mailbox.abandon([step.record.intent])
        with self._log.group():
            self._log.replacements.withdraw(step.message)


def meet_placed(job: Job, mailbox: Mailbox) -> None:
    """Finds the new copies that an interrupted run placed and did not log.

    Before a walk, which would take them for further messages. What is not found
    stays open: it may lie elsewhere, and the walk knows it by its identity.
    """
    records = [one for one in job.log.replacements.open() if one.intent.met is None]
    if not records:
        return
    found = mailbox.find([record.intent for record in records])
    with job.log.group():
        for record, where in zip(records, found, strict=True):
            if where.placed is not None and where.unclear is None:
                job.log.replacements.place(record.message, where.placed.ref)
