"""Walks the mailbox, opens what is not done yet, and logs what was found, a group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace

from sectool.checkpoint import IncomingCheckpoint
from sectool.errors import Interrupted
from sectool.joblog import (
    KEPT,
    ON_TRIAL,
    CheckpointRecord,
    Examination,
    MessageRecord,
    MessagesAlike,
)
from sectool.jobs.passes import bindings
from sectool.jobs.passes.failure_limit import FAILURES, FailureLimit
from sectool.jobs.passes.own_copies import has_header_of_original
from sectool.jobs.passes.retry import Retry
from sectool.jobs.passes.selection import (
    FURTHER_LISTINGS,
    Selector,
    check_shown,
    count,
    paged,
    walk,
    walk_again,
)
from sectool.jobs.passes.tally import count_not_selected
from sectool.jobs.replacing.in_flight import in_flight
from sectool.jobs.session.job import Job
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import Undone
from sectool.jobs.work.examine import (
    ExamineArgument,
    Examined,
    ExamineTask,
    examine_all,
)
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.search_layers import names_of_key
from sectool.keys import KeyHistory
from sectool.message import Listing, MessageRef
from sectool.outcome import RecipientKey, State
from sectool.progress import Progress
from sectool.summary import OpeningSummary
from sectool.values import dataclass

GROUP_MESSAGES = 128
"""Messages made durable and logged together."""

GROUP_BYTES = 32 * 1024 * 1024
"""Plaintext bytes made durable together, unless one message has more."""

_LATE = "its key was not given before the message was replaced; to take it, begin another job"

_PROBES = 32
"""Messages that fail as well before a folder is left."""
_ROUNDS = 8
"""So often a folder in which too much failed is gone on with."""

SAME_AGAIN = frozenset(
    {
        State.MISSING_KEY,
        State.UNSUPPORTED,
        State.MALFORMED,
        State.UNDER_SIGNATURE,
        State.REVIEW,
        State.REFUSED,
    }
)
"""States that the same bytes and the same keys would only reach again."""


@dataclass(slots=True)
class Group:
    """What waits to be made durable and logged together."""

    examinations: list[Examination] = field(default_factory=list)
    incoming: list[IncomingCheckpoint] = field(default_factory=list)
    size: int = 0
    """Bytes of plaintext."""

    def add(self, examined: Examined) -> None:
        """Takes one message; one that vanished is none."""
        if examined.examination is not None:
            self.examinations.append(examined.examination)
            self.incoming.extend(examined.incoming)
            self.size += examined.inner_bytes

    @property
    def is_full(self) -> bool:
        """Whether it is large enough for one round of syncs."""
        return len(self.examinations) >= GROUP_MESSAGES or self.size >= GROUP_BYTES


def keep_first(job: Job, group: Group) -> None:
    """Leaves out of a group the checkpoints of what the job has one of already.

    Whoever sends an old ciphertext once more writes the header around it: the one that a part
    was first seen with stays. Another takes its place where it is not any more what it was, and
    where both are the same, since a sealed one that is damaged is not told from a whole one
    without its key.
    """
    digests = [one.content_digest for each in group.examinations for one in each.checkpoints]
    if not digests:
        return
    known = job.log.messages.parts.checkpoints(digests)
    incoming = iter(group.incoming)
    first = dict[str, IncomingCheckpoint]()
    unwanted: list[IncomingCheckpoint] = []
    for number, examination in enumerate(group.examinations):
        records: list[CheckpointRecord] = []
        for record in examination.checkpoints:
            written = next(incoming)
            before = known.get(record.content_digest)
            if record.content_digest not in first and _is_wanted(job, record, before):
                first[record.content_digest] = written
                records.append(record)
            else:
                unwanted.append(written)
        if len(records) < len(examination.checkpoints):
            group.examinations[number] = replace(examination, checkpoints=tuple(records))
    group.incoming = list(first.values())
    job.checkpoints.discard(unwanted)


def _is_wanted(job: Job, record: CheckpointRecord, known: CheckpointRecord | None) -> bool:
    if known is None:
        return True
    expected = (known.content_digest, known.inner_sha256, known.inner_size, known.header_sha256)
    is_same = (known.inner_sha256, known.header_sha256) == (
        record.inner_sha256,
        record.header_sha256,
    )
    return is_same or not job.checkpoints.is_whole(*expected)


class Intake:
    """One walk that takes into the job whatever is not done yet.

    Args:
        on: the job whose log it is and the mailbox that is walked; its selection counts.
        undone: what to do with messages that were not done, or are not.
        keys: the key history.
        left_out: the messages that the selection leaves out are counted there.
        argument: how messages are examined.
        tried_with: names a key history, as ``argument`` has it.
        is_done: whether a message of the job, seen at its place, needs no look; asked in a
            group of the log, for a page of messages.
        before_logging: called with each group, to make durable what the log will say.
        is_settled: whether the copy at a place is none to take in, whatever it holds.

    Attributes:
        leaves_work: whether it left messages out that are not done.
        retry: what is tried once more.
        failures: the folders that are left.
        trials: of the keys on certificates that are not at hand.
    """

    def __init__(
        self,
        on: JobSession,
        undone: Undone,
        keys: KeyHistory,
        *,
        left_out: OpeningSummary,
        argument: ExamineArgument,
        tried_with: Callable[[KeyHistory], str],
        is_done: Callable[[MessageRecord, Listing], bool],
        before_logging: Callable[[Group], None],
        is_settled: Callable[[Listing], bool] = lambda _: False,
    ) -> None:
        job, operation = on.job, on.operation
        self._left_out = left_out
        self.leaves_work = False
        self.retry = Retry(job.log, operation, is_asked_for=undone.retry)
        earlier = _ended_before(job, None if undone.retry else argument.tried_with)
        percent = on.failure_percent(undone.max_failures)
        self.failures = FailureLimit(percent, earlier, job.log.standings.opened())
        self._selector = Selector(on.selection)
        self._aside: list[tuple[Listing, MessageRecord | None]] = []
        """Of folders in which too much failed; whether that is explained, other mail may show."""
        self._stage = operation
        self._selection = on.selection
        self._workers = on.workers
        self._job = job
        self._log = job.log
        self._mailbox = on.mailbox
        self._argument = argument
        self._keys = keys
        self._tried_with = tried_with
        self.trials = bindings.Trials(keys, bindings.RUN_OPERATIONS)
        self._on_trial: dict[MessageRef, tuple[bindings.UnknownCertificate, ...]] = {}
        self._untried: list[tuple[int, tuple[bindings.UnknownCertificate, ...]]] = []
        self._in_flight: dict[MessageRef, int] = {}
        self._has_new_copies = True
        self._met: list[int] = []
        """Messages with two copies; the old one may have been moved, and claims its row first."""
        self._moved: list[Examination] = []
        """New copies of such messages, where somebody moved them."""
        self._late: list[Examination] = []
        """What reads like a plaintext copy of the job, and waits for all others."""
        self._without_row: set[MessageRef] = set()
        """What was seen and has no row, or none yet."""
        self._is_done = is_done
        self._before_logging = before_logging
        self._is_settled = is_settled
        self._cancel = on.cancel

    def run(self, progress: Progress) -> None:
        """Walks, opens and logs; then once more what keys open that it does not name.

        Raises:
            Interrupted: what was opened until then is logged.
        """
        self.failures.tell(progress)
        self._find_late_keys()
        check_shown(self._job, self._mailbox)
        self._in_flight = in_flight(self._job, self._mailbox, workers=self._workers)
        # None comes while mail is taken in.
        self._has_new_copies = self._log.replacements.has_new_copies()
        progress.begin(self._stage, count(self._mailbox, progress, self._cancel))
        self._look_at(walk(self._mailbox, self._cancel), progress)
        for _ in range(FURTHER_LISTINGS):
            self._log.messages.copies.begin_listing()
            self._met.clear()
            with self._log.group():  # one transaction for all the questions
                missed = walk_again(self._mailbox, self._cancel, self._was_seen)
            if not missed:
                break
            self._look_at(missed, progress)
        # A folder may have been shut meanwhile.
        check_shown(self._job, self._mailbox)
        with self._log.group():
            # Before a message counts as seen whose new copy was met.
            self._log.messages.copies.join_moved()
            for message in self._met:
                self._log.replacements.meet(message)
            for examination in self._moved:
                if not self._log.replacements.follow(examination, self._met):
                    self._log.messages.record(examination)
            for examination in self._late:
                is_own = has_header_of_original(self._job, examination)
                if not self._log.messages.copies.take_moved(examination):
                    self._log.messages.record(examination, is_own)
        progress.end()
        self.trials.run(
            self._argument, workers=self._workers, progress=progress, cancel=self._cancel
        )
        self._take_again(progress)

    def _look_at(self, listings: Iterable[Listing], progress: Progress) -> None:
        tasks = self._tasks(listings, progress)
        self._take(self._watched(self._answers(tasks, self._argument)), progress)
        self._take_aside(progress)

    def _was_seen(self, listing: Listing) -> bool:
        ref, log = listing.ref, self._log
        if (replaced := self._in_flight.get(ref)) is not None:
            self._met.append(replaced)
            return True
        if ref in self._without_row or self._is_late_at(ref):
            return True
        return log.messages.copies.look_back(listing)

    def _find_late_keys(self) -> None:
        """Says of what was left in messages that are replaced that its key is there now."""
        keys = self._keys
        held = [name for key in keys.keys for name in names_of_key(key)]
        held += [binding.recipient for binding in keys.bindings]
        with self._log.group():
            self._log.messages.parts.layers.find_late(held, _LATE)

    def _watched(self, answers: Iterable[Examined]) -> Iterator[Examined]:
        for answer in answers:
            examination = answer.examination
            if examination is not None:
                self.failures.saw(examination.ref.folder, examination.state, _keys_of(examination))
            if examination is not None and (certificates := self.trials.saw(answer)):
                self._on_trial[examination.ref] = certificates
                # Until the trial: a run that is killed before leaves it to the next one.
                yield replace(answer, examination=replace(examination, tried_with=ON_TRIAL))
            else:
                yield answer

    def _take(self, answers: Iterator[Examined], progress: Progress) -> None:
        group = Group()
        try:
            for answer in answers:
                examination = answer.examination
                if examination and self._is_new_copy(examination):
                    self._moved.append(examination)
                    self._without_row.add(examination.ref)
                else:
                    group.add(answer)
                if group.is_full:
                    self._commit(group)
                    group = Group()
                progress.advance()
                self._cancel.check()
        except Interrupted:
            # What is opened already need not be opened again.
            self._commit(group)
            raise
        self._commit(group)

    def _is_late_at(self, ref: MessageRef) -> bool:
        return self._has_new_copies and self._log.replacements.is_late_at(ref)

    def _is_new_copy(self, examination: Examination) -> bool:
        return self._has_new_copies and self._log.replacements.is_new_copy(examination, self._met)

    def _answers(
        self, tasks: Iterator[ExamineTask], argument: ExamineArgument
    ) -> Iterator[Examined]:
        workers = workers_for(self._workers, self.trials.keys)
        return examine_all(tasks, argument, workers=workers)

    # --- what the trials found ----------------------------------------------------------

    def _take_again(self, progress: Progress) -> None:
        """Looks once more at what names a certificate whose key was found."""
        former, trials = self._argument.tried_with, self.trials
        if not (trials.bindings or trials.guesses or self._untried):
            return
        tried_with = self._tried_with(trials.keys) if trials.bindings else former
        with self._log.group():
            self._log.bindings.add(trials.bindings)
        again = {one for binding in trials.bindings for one in self._log.bindings.shut_for(binding)}
        alone = [self._log.messages.at(ref) for ref in trials.guesses]
        again.update(known.message for known in alone if known is not None)
        listings = self._log.messages.look_again(again, self._selection.takes)
        if listings:
            progress.begin(self._stage, len(listings))
            argument = trials.argument(self._argument, tried_with)
            answers = self._answers(map(trials.task, listings), argument)
            self._take(map(self._settled, answers), progress)
            progress.end()
        with self._log.group():
            # What was not tried is left to the next run.
            tried = [row for row, names in self._untried if all(one.tried for one in names)]
            self._log.messages.set_tried(tried_with, tried)
            if tried_with != former:
                self._log.messages.set_tried_instead(tried_with, former, but=again)

    def _settled(self, answer: Examined) -> Examined:
        """What only a guess opens is tried again wherever it has to be opened again."""
        examination = answer.examination
        if examination is None or examination.state is not State.READABLE:
            return answer
        if examination.ref not in self.trials.guesses:
            return answer
        return replace(answer, examination=replace(examination, tried_with=""))

    def describe(self, summary: OpeningSummary) -> None:
        """Adds the certificates that are not at hand and whose key is."""
        for binding in self._log.bindings.all():
            if binding not in self.trials.bindings:
                messages = self._log.bindings.named_by(binding)
                earlier = self.trials.describe_earlier(binding, messages)
                summary.bindings += [earlier] if earlier is not None else []
        self.trials.describe(summary)

    # --- what is walked -------------------------------------------------------------------

    def _tasks(self, listings: Iterable[Listing], progress: Progress) -> Iterator[ExamineTask]:
        for page in paged(listings):
            with self._log.group():
                waiting = [(one, known) for one in page for known in self._known_if_waiting(one)]
            if settled := len(page) - len(waiting):
                progress.advance(settled)
            for listing, known in waiting:
                if self.retry.leaves(listing, known):
                    self._leave(listing, known)
                else:
                    yield from self._task(listing, known)

    def _known_if_waiting(self, listing: Listing) -> Iterator[MessageRecord | None]:
        """What the log knows of a message, unless it is done, or another pass sees to it."""
        replaced = self._in_flight.get(listing.ref)
        if replaced is not None:
            self._met.append(replaced)
        if replaced is not None or self._is_late_at(listing.ref) or self._is_settled(listing):
            return
        known = self._log.messages.at(listing.ref)
        if known is not None and self._is_done(known, listing):
            self._log.messages.see(known.message)
        else:
            yield known

    def _task(self, listing: Listing, known: MessageRecord | None) -> Iterator[ExamineTask]:
        """Looks at a message, unless it is put aside or not selected."""
        if self._selection.takes(listing) and self.failures.exceeds(listing.ref.folder):
            self._aside.append((listing, known))
        elif tasks := list(self._selected(listing, known)):
            yield from tasks
        else:
            self._leave(listing, known)

    def _selected(self, listing: Listing, known: MessageRecord | None) -> Iterator[ExamineTask]:
        if self._selector.takes(listing):
            if known is not None:
                self.retry.takes(known.message)
            yield ExamineTask(listing)

    # --- folders in which too much failed -------------------------------------------------

    def _take_aside(self, progress: Progress) -> None:
        """Goes on with folders whose failures other mail explains by now, and leaves the others."""
        for _ in range(_ROUNDS):
            if not any(map(self._is_wanted, self._aside)) and not self._probe(progress):
                break
            aside, self._aside = self._aside, []
            tasks = (task for one in aside for task in self._task(*one))
            self._take(self._watched(self._answers(tasks, self._argument)), progress)
        for listing, known in self._aside:
            self.failures.leave(listing.ref.folder)
            self._leave(listing, known)

    def _is_wanted(self, one: tuple[Listing, MessageRecord | None]) -> bool:
        return not self.failures.exceeds(one[0].ref.folder)

    def _probe(self, progress: Progress) -> bool:
        """Looks at mail from all over what was put aside: whether a folder may be gone on with.

        Junk may lie before all other mail. What fails here as well is left as it is.
        """
        untried, failed, size = list(self._aside), 0, _PROBES
        while untried and failed < _PROBES:
            sample = untried[:: -(-len(untried) // size)]
            tasks = (task for one in sample for task in self._selected(*one))
            answers = self._answers(tasks, self._argument)
            sound: list[Examined] = []
            for answer in answers:
                one = answer.examination
                if one is not None and one.state in FAILURES:
                    failed += 1
                else:
                    sound.append(answer)
            self._take(self._watched(sound), progress)
            done = {one.examination.ref for one in sound if one.examination is not None}
            self._aside = [one for one in self._aside if one[0].ref not in done]
            if any(map(self._is_wanted, self._aside)):
                return True
            tried = {listing.ref for listing, _ in sample}
            untried = [one for one in untried if one[0].ref not in tried]
            size *= 2
        return False

    def _leave(self, listing: Listing, known: MessageRecord | None) -> None:
        """There is work on this message, and it is not for this run."""
        self.leaves_work = True
        if known is not None:
            self._log.messages.see(known.message)
        else:
            self._without_row.add(listing.ref)
            count_not_selected(self._left_out, listing)

    def _commit(self, group: Group) -> None:
        if not group.examinations:
            return
        self._before_logging(group)
        with self._log.group():
            for examination in group.examinations:
                if self._log.messages.copies.is_late(examination):
                    self._late.append(examination)
                    self._without_row.add(examination.ref)
                    continue
                message = self._log.messages.record(examination)
                if certificates := self._on_trial.pop(examination.ref, ()):
                    self._untried.append((message, certificates))


def _keys_of(examination: Examination) -> frozenset[RecipientKey]:
    """The keys at hand that the recipients of a message name."""
    return examination.in_history.intersection(examination.recipients)


def _ended_before(job: Job, tried_with: str | None) -> Iterator[MessagesAlike]:
    """What earlier runs have come to an end with, and this one does not try again; None: all."""
    yield from job.log.standings.of_all(KEPT | {State.DECRYPTED})
    if tried_with is not None:
        yield from job.log.standings.of_all(SAME_AGAIN, tried_with=tried_with)


def is_released(job: Job, known: MessageRecord, released: frozenset[str]) -> bool:
    """Whether a person has said by now that a part of a message is to be taken as it is."""
    return not released.isdisjoint(job.log.messages.parts.content_digests(known.message))
