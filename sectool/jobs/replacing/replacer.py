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
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sectool import durable
from sectool.errors import (
    Again,
    MessageError,
    MessageVanished,
    NoSpace,
    SectoolError,
)
from sectool.joblog import Purpose, ReplacementRecord
from sectool.jobs.replacing.in_flight import FoundCopies, find_copies, of_store
from sectool.jobs.replacing.late import remove_late
from sectool.jobs.replacing.meaning import MEANINGS, state_after
from sectool.jobs.replacing.originals import keep_originals, renew_originals
from sectool.jobs.session.job import Job
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.stored_copy import CopyTask, KnownCopy, Looker
from sectool.mailbox import (
    NOTHING,
    Add,
    Intent,
    Keeps,
    Mailbox,
    Merge,
    Placed,
    Replace,
    Retirement,
    Tries,
    Unit,
    Written,
)
from sectool.message import Flags, Listing
from sectool.outcome import State
from sectool.values import dataclass


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
    def intent(self) -> Intent:
        return self.record.intent

    @property
    def is_addition(self) -> bool:
        return self.record.purpose is Purpose.BRING_BACK


def check_writable(mailbox: Mailbox, *, dry_run: bool) -> None:
    """Holds that messages can be replaced at all, before hours are spent on them.

    Each operation that writes passes here, whatever the store.

    Raises:
        ReadOnlyMailbox: they cannot.
    """
    if not dry_run:
        mailbox.require_writable()


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
        self._looker = Looker(mailbox, workers=workers)
        self._is_first = True
        self._not_added: list[str] = []
        self._brought_in: set[int] = set()
        """Messages whose new copy was placed, so that its bytes are not at hand any more."""
        self._of_folder: list[tuple[_Step, Placed]] = []
        """Placed beside a folder that is written anew at once."""

    def close(self) -> None:
        """Lets go of what looks at copies."""
        self._looker.close()

    # --- a group --------------------------------------------------------------

    def carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces the messages of one group; each ends in the log, done or with its reason.

        Where the store writes whole folders, those of the last folder end with the next group
        that has none of it, or with ``finish``; the groups come ordered by folder.

        Raises:
            NoSpace: disk or quota full; the old copies are all there.
            RunError: a sync failed; the old copies are all there.
        """
        if self._is_first and self._mailbox.capabilities.keeps is Keeps.REWRITTEN:
            # What a server does of its own accord with what is removed is learnt of one message.
            self._is_first = False
            self.carry_out(group[:1])
            group = group[1:]
        if not group:
            return
        last = group[-1].ref.folder
        if MEANINGS[self._purpose].keeps_original:
            others = [new for new in group if not new.keeps_original]
            group = others + self._keep_originals([new for new in group if new.keeps_original])
        changes = [
            Replace(new.ref, new.written.content, new.old.revision, new.old.sight) for new in group
        ]
        steps = self._intend(group, changes, self._purpose)
        if self._mailbox.capabilities.unit is Unit.MESSAGE:
            self._see_through(steps, self._bring_in, self._retire)
            return
        self._see_through(steps, self._bring_in, self._let_wait)
        self._retire_beside(but=last)

    def _let_wait(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        """Keeps no more of what waits for its folder than what ends it: there may be any number."""
        self._of_folder += [(replace(step, new=None), copy) for step, copy in placed]

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
        steps = self._intend([new for new, _ in group], changes, Purpose.BRING_BACK)
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
            except NoSpace:
                if self._mailbox.capabilities.keeps is Keeps.REWRITTEN:
                    # Of what lies twice in an account that is full the old goes: it makes room.
                    with contextlib.suppress(SectoolError):
                        self._retire(self._go_on(self._still_open(steps), brings_in=False))
                raise
            except SectoolError as error:
                tries.wait_after(error)
                steps = self._still_open(steps)
                act = self._go_on
            else:
                return

    def _still_open(self, steps: Sequence[_Step]) -> list[_Step]:
        """Those that are not through, with what the log was told of them meanwhile."""
        records = {record.message: record.intent for record in self._log.replacements.open()}
        still = []
        for step in steps:
            if (known := records.get(step.message)) is not None:
                intent = replace(step.intent, flags=known.flags, told=known.told, met=known.met)
                still.append(replace(step, record=replace(step.record, intent=intent)))
        return still

    def _keep_originals(self, group: Sequence[NewMessage]) -> list[NewMessage]:
        kept, refused = keep_originals(self._job, self._mailbox, group)
        for new, error in refused:
            self._give_up(new, State.CHANGED, error.message)
        return kept

    def _intend(
        self, group: Sequence[NewMessage], changes: Sequence[Replace | Add], purpose: Purpose
    ) -> list[_Step]:
        """Logs what will come where, and the originals, which are kept by now."""
        intents = self._mailbox.intend(changes)
        steps: list[_Step] = []
        with self._log.group():
            if MEANINGS[purpose].keeps_original:
                kept = {new.message: new.old.digest for new in group if new.keeps_original}
                self._log.replacements.keep_originals(kept)
            for new, intent in zip(group, intents, strict=True):
                written = new.written
                meant = Purpose.REWRAP if written.is_rewrapped else purpose
                record = ReplacementRecord(
                    *(new.message, meant, intent, written.identity, written.opens_to),
                    store=self._mailbox.specification.kind,
                )
                steps.append(_Step(record, new))
            self._log.replacements.intend([step.record for step in steps])
            for new in group:
                if new.note:
                    self._log.messages.note_steps([new.message], new.note)
        return steps

    def _bring_in(self, steps: Sequence[_Step]) -> list[tuple[_Step, Placed]]:
        """Writes and places the new copies; what was written by a worker is kept until then."""
        contents = [(step.intent, step.new.written.content) for step in steps if step.new]
        answers = self._mailbox.write(contents)
        written: list[tuple[_Step, Written]] = []
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(answer, Written):
                written.append((step, answer))
            else:
                self._withdraw(step, state_after(answer), answer.message)
        return self._place(written)

    def _place(self, written: Sequence[tuple[_Step, Written]]) -> list[tuple[_Step, Placed]]:
        answers = self._mailbox.place([copy for _, copy in written])
        placed: list[tuple[_Step, Placed]] = []
        for (step, _), answer in zip(written, answers, strict=True):
            if isinstance(answer, Placed):
                placed.append((step, answer))
            else:
                self._withdraw(step, state_after(answer), answer.message)
        self._log_placed(placed)
        return self._proven(placed)

    def _proven(self, placed: Sequence[tuple[_Step, Placed]]) -> list[tuple[_Step, Placed]]:
        """Those whose new copy is what was written, where the store may have rewritten it."""
        if self._mailbox.capabilities.keeps is Keeps.EXACT:
            return list(placed)
        tasks = [CopyTask(copy.ref, step.intent.size) for step, copy in placed]
        looks = self._looker.look_at(tasks)
        proven: list[tuple[_Step, Placed]] = []
        for step, copy in placed:
            look = looks[copy.ref]
            if isinstance(look, KnownCopy) and step.record.identity in look.names:
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
        if step.intent.replaced == NOTHING:
            self._not_added.append(reason)
        elif isinstance(answer := self._remove_new(copy), Placed):
            self._withdraw(step, State.FAILED, reason)
        else:
            self._leave_open(step, answer)

    def _remove_new(self, copy: Placed) -> Placed | MessageError:
        """Removes a new copy by the way that retires; the old one stays in its place."""
        intent = copy.written.intent
        swapped = replace(intent, replaced=copy.ref, revision=copy.revision)
        stays = Placed(replace(copy.written, intent=swapped), intent.replaced, intent.revision, "")
        (answer,) = self._mailbox.retire([stays])
        return answer

    def _log_placed(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        for step, _ in placed:
            self._remove_spooled(step.new)  # where it was copied, not renamed
            self._brought_in.add(step.message)
        with self._log.group():
            self._log.replacements.place(
                {
                    step.message: None if copy.ref == step.intent.replaced else copy.ref
                    for step, copy in placed
                }
            )

    def _finish(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        """Nothing is to be retired, or it is gone: the new copies alone count from now on."""
        with self._log.group():
            self._log_finished(placed)

    def _retire(self, placed: Sequence[tuple[_Step, Placed]]) -> None:
        self._finish([entry for entry in placed if entry[0].is_addition])
        placed = [entry for entry in placed if not entry[0].is_addition]
        messages = {copy.written.intent.replaced: step.message for step, copy in placed}

        def note(merges: Sequence[Merge]) -> None:
            with self._log.group():
                for merge in merges:
                    self._log.replacements.note_flags(
                        messages[merge.intent.replaced], base=merge.base, told=merge.old
                    )

        answers = self._mailbox.retire([copy for _, copy in placed], note)
        finished: list[tuple[_Step, Placed]] = []
        withdrawn: list[tuple[_Step, MessageError]] = []
        with self._log.group():
            for (step, _), answer in zip(placed, answers, strict=True):
                if isinstance(answer, Placed):
                    finished.append((step, answer))
                elif self._is_one_copy and state_after(answer) is State.CHANGED:
                    withdrawn.append((step, answer))
                else:
                    self._settle(step, answer)
            self._log_finished(finished)
        for step, error in withdrawn:
            self._withdraw(step, State.CHANGED, error.message)
        self._mailbox.check_removed()

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
        self._log.messages.advance(step.message, state_after(error), reason=error.message)

    def _withdraw(self, step: _Step, state: State, reason: str) -> None:
        self._mailbox.abandon([step.intent])
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

    def _log_finished(self, finished: Sequence[tuple[_Step, Placed]]) -> None:
        of_purpose: dict[Purpose, dict[int, Listing]] = defaultdict(dict)
        for step, copy in finished:
            listing = Listing(copy.ref, step.intent.size, Flags(), copy.hint)
            of_purpose[step.record.purpose][step.message] = listing
        for purpose, listings in of_purpose.items():
            meaning = MEANINGS[purpose]
            self._log.replacements.finish(listings, meaning.state, meaning.proof)

    # --- after an interruption -----------------------------------------------------

    def recover(self) -> None:
        """Brings the replacements that an earlier run left open to an end.

        After the walk: it has given each the places where its two copies are now,
        wherever the mailbox or the user moved them.
        """
        records = of_store(self._mailbox, self._log.replacements.open())
        steps = [_Step(record) for record in records]
        self._see_through(steps, self._go_on, self._retire)
        for late in self._log.replacements.late():
            try:
                remove_late(self._mailbox, *late, workers=self._workers)
            except SectoolError as error:
                # It stays, and the next run meets it again.
                if not isinstance(error, MessageError) and error.again is not Again.NOW:
                    raise

    def _go_on(self, steps: list[_Step], *, brings_in: bool = True) -> list[tuple[_Step, Placed]]:
        """Ends what is done, does what is not, and answers what is left to be retired."""
        records = [step.record for step in steps]
        found = find_copies(self._mailbox, records, workers=self._workers)
        retire: list[tuple[_Step, Placed]] = []
        finish: list[tuple[_Step, Placed]] = []
        missing: list[_Step] = []
        outdated: list[tuple[_Step, Placed]] = []
        for step, copies in zip(steps, found, strict=True):
            if copies.unclear is not None:
                self._leave_open(step, copies.unclear)
            elif self._is_on_the_move(step, copies):
                self._leave_open(step, MessageVanished("a copy of it went while the run began"))
            elif copies.new is None:
                missing.append(step)
            elif copies.old_present and copies.is_outdated:
                outdated.append((step, copies.new))
            elif copies.old_present and not step.is_addition:
                retire.append((step, copies.new))
            else:
                finish.append((step, copies.new))
        self._log_placed([*finish, *retire])
        self._log_identities(zip(steps, found, strict=True))
        self._finish(finish)
        for step, copy in outdated:
            self._make_way(step, copy)
        originals = [
            (step.record.original, copy.written.intent)
            for step, copy in retire
            if step.record.original and MEANINGS[step.record.purpose].keeps_original
        ]
        renew_originals(self._job, self._mailbox, originals)
        return retire + (self._bring_in_again(missing) if brings_in else [])

    def _is_on_the_move(self, step: _Step, copies: FoundCopies) -> bool:
        """Whether a copy is gone that the walk saw: the next one shows whether it was moved."""
        if copies.new is None:
            return self._log.replacements.was_met(step.message, both=False)
        is_gone = not (copies.old_present or step.is_addition)
        return is_gone and self._log.replacements.was_met(step.message, both=True)

    def _log_identities(self, found: Iterable[tuple[_Step, FoundCopies]]) -> None:
        with self._log.group():
            for step, copies in found:
                if copies.new is not None and copies.identity:
                    self._log.replacements.know_as(step.message, copies.identity)

    def _make_way(self, step: _Step, copy: Placed) -> None:
        """Removes the new copy of a message whose owner moved or edited the old one since.

        That is their last word, so the message waits again, as it is now.
        """
        if copy.ref == copy.written.intent.replaced:
            return self._forget(step)  # it lies beside
        if isinstance(answer := self._remove_new(copy), MessageError):
            return self._leave_open(step, answer)
        return self._forget(step)

    def _bring_in_again(self, steps: Sequence[_Step]) -> list[tuple[_Step, Placed]]:
        """What is not at hand any more is given up, and its message stands as before."""
        at_hand = [step for step in steps if step.new and step.message not in self._brought_in]
        with self._log.group():
            for step in at_hand:
                self._log.replacements.expect_late(step.message)
        for step in steps:
            if step not in at_hand:
                self._forget(step)
        return self._bring_in(at_hand) if at_hand else []

    def _leave_open(self, step: _Step, error: MessageError) -> None:
        """Of copies that cannot be read none is made again, and none is taken for gone."""
        if step.is_addition:
            self._not_added.append(error.message)  # it is as lost as it was
            return
        with self._log.group():
            self._settle(step, error)

    def _forget(self, step: _Step) -> None:
        """The new copy was never placed: the message stands as before."""
        self._mailbox.abandon([step.intent])
        with self._log.group():
            self._log.replacements.withdraw(step.message)
