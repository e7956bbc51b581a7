"""``scan``: says what a mailbox holds, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from sectool.joblog import Examination
from sectool.jobs.passes import bindings
from sectool.jobs.passes.preflight import Survey, free_bytes, readable_if_opened
from sectool.jobs.passes.selection import Selector, count, walk
from sectool.jobs.passes.tally import count_examination, count_not_selected
from sectool.jobs.session.session import Session, name_shut_key_files
from sectool.jobs.session.spec import Cancel, Scan
from sectool.jobs.work.examine import (
    ExamineArgument,
    Examined,
    ExamineTask,
    examine_all,
)
from sectool.jobs.work.open_with import tried_with, workers_for
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox, Unit
from sectool.message import Listing, MessageRef
from sectool.outcome import Outcome, State
from sectool.progress import Progress
from sectool.summary import OpeningSummary

_LISTINGS = 20
"""So often a mailbox is listed at most in which messages vanish before they are read."""


class _Sightings:
    """Lists and follows what is moved or replaced meanwhile, so that each message counts once.

    A copy that comes while another one goes, or is to go, is the same message where it has the
    same identity, or the folder and the internal date of one that a run may be replacing.
    """

    def __init__(self, mailbox: Mailbox, cancel: Cancel) -> None:
        self._mailbox = mailbox
        self._cancel = cancel
        self._is_in_use = mailbox.is_in_use()
        self._counted: dict[int, tuple[int, int]] = {}
        """Digests of identity and of folder and date, by that of the place."""
        self._joined: set[int] = set()
        """Places of messages that count where their other copy lies."""
        self._gone: dict[int, list[int]] = {}
        """Places of copies that the last listing does not show, by either digest."""
        self._beside: dict[int, list[int]] = {}
        """Places of copies that may have another one beside them, by folder and date."""

    def follow(
        self, examine: Callable[[Iterable[Listing]], Iterator[Examined]]
    ) -> Iterator[tuple[Examined, Examination]]:
        """What is examined, one answer for each message that did not vanish.

        Args:
            examine: examines what listings show.
        """
        listings: Iterable[Listing] = walk(self._mailbox, self._cancel)
        for number in range(_LISTINGS):
            vanished = False
            for answer in examine(listings):
                if (one := answer.examination) is None:
                    vanished = True
                elif not self.knows(one.listing, one.identity):
                    yield answer, one
            self._is_in_use = self._is_in_use or self._mailbox.is_in_use()
            listings = self._list_again()
            if not listings or (number and not vanished):
                break

    def knows(self, listing: Listing, identity: str) -> bool:
        """Whether a copy is of a message that was counted; from now on it was."""
        date, place = listing.internal_date, hash(listing.ref)
        names = (hash(identity), 0 if date is None else hash((listing.ref.folder, date)))
        other = self._other(*names)
        if other is not None:
            del self._counted[other]
            self._joined.add(other)
        self._counted[place] = names
        return other is not None

    def _other(self, identity: int, mail: int) -> int | None:
        for table, name in ((self._gone, identity), (self._gone, mail), (self._beside, mail)):
            places = table.get(name, []) if name else []
            while places:
                known = self._counted.get(place := places.pop())
                if known is not None and (table is self._gone or known[0] != identity):
                    return place
        return None

    def _list_again(self) -> list[Listing]:
        """What the mailbox shows now that it did not before."""
        there: set[int] = set()
        new: list[Listing] = []
        for listing in walk(self._mailbox, self._cancel):
            there.add(place := hash(listing.ref))
            if place not in self._counted and place not in self._joined:
                new.append(listing)
        self._gone, self._beside = {}, {}
        for place, (identity, mail) in self._counted.items() if new else ():
            if place not in there:
                self._gone.setdefault(identity, []).append(place)
                if self._is_in_use:
                    self._gone.setdefault(mail, []).append(place)
            elif self._is_in_use:
                self._beside.setdefault(mail, []).append(place)
        return new

    def tell(self, progress: Progress) -> None:
        """Says that a run is on."""
        if self._is_in_use:
            progress.warn(
                "another run is at work on this mailbox: each message counts once, as it was found",
                hint="scan again when that run has ended, to see what it did",
            )


def scan(spec: Scan, session: Session) -> OpeningSummary:
    """Examines every selected message and counts what it is.

    With keys, every encrypted message is really opened and its content held
    against the acceptance rule (G3), and discarded. With the keys of the new
    place the verdict says which of it would be readable there.
    """
    mailbox = session.mailbox(spec, spec.mailbox)
    session.tell_passed_over(mailbox)
    keys = session.any_history(spec.keys)
    progress, cancel = session.progress, session.cancel
    url = mailbox.specification.url
    summary = OpeningSummary(mailbox=url, phase=spec.operation, access=spec.account.words)
    selector = Selector(spec.selection)
    rewrites = mailbox.capabilities.unit is Unit.FOLDER
    survey = Survey(keys, session.any_history(spec.new_keys), writes_folders=rewrites)
    started = time.monotonic()

    argument = _argument(spec, mailbox, keys)
    trials = None if keys is None else bindings.Trials(keys, bindings.SCAN_OPERATIONS)
    shut: dict[MessageRef, Examination] = {}

    def examined(listings: Iterable[Listing]) -> Iterator[Examined]:
        tasks = (ExamineTask(listing) for listing in listings)
        for answer in examine_all(tasks, argument, workers=workers_for(spec.workers, keys)):
            progress.advance()
            cancel.check()
            yield answer

    def selected(listings: Iterable[Listing]) -> Iterator[Listing]:
        for listing in listings:
            if selector.takes(listing):
                yield listing
            elif not sightings.knows(listing, ""):
                count_not_selected(summary, listing)

    progress.begin("scan", count(mailbox, progress, cancel))
    sightings = _Sightings(mailbox, cancel)
    for answer, examination in sightings.follow(lambda several: examined(selected(several))):
        if trials is not None and trials.saw(answer):
            shut[examination.ref] = examination
        else:
            _count(summary, survey, examination, progress)
    progress.end()
    sightings.tell(progress)
    if trials is not None:
        _try_keys(trials, shut, argument, session, workers=spec.workers)
        trials.describe(summary)
    for examination in shut.values():
        _count(summary, survey, examination, progress)
    survey.not_selected = summary.counts[State.NOT_SELECTED]
    survey.passed_over = len(mailbox.passed_over)
    space_free = free_bytes(mailbox, None)
    summary.preflight = survey.verdict(space_free, time.monotonic() - started, summary.bytes)
    if summary.missing_a_key:
        name_shut_key_files(summary, keys)
    return summary


def _try_keys(
    trials: bindings.Trials,
    shut: dict[MessageRef, Examination],
    argument: ExamineArgument,
    session: Session,
    *,
    workers: int,
) -> None:
    """Tries keys on the messages that named none of them, and looks again at those they open."""
    trials.run(argument, workers=workers, progress=session.progress, cancel=session.cancel)
    again = map(trials.task, trials.named_by(shut.values()))
    workers = workers_for(workers, trials.keys)
    for answer in examine_all(again, trials.argument(argument, ""), workers=workers):
        if answer.examination is not None:
            shut[answer.examination.ref] = answer.examination
        session.cancel.check()


def _argument(spec: Scan, mailbox: Mailbox, keys: KeyHistory | None) -> ExamineArgument:
    return ExamineArgument(
        mailbox=mailbox.access,
        material=None if keys is None else keys.material,
        tried_with=tried_with(keys, spec.part_selection),
        checkpoints=None,
        released=spec.released,
        part_selection=spec.part_selection,
    )


def _count(
    summary: OpeningSummary, survey: Survey, examination: Examination, progress: Progress
) -> None:
    state = readable_if_opened(examination.state)
    count_examination(summary, examination, state)
    survey.add(examination, state)
    if progress.hears_outcomes:
        ref, reason = examination.ref, examination.reason
        progress.outcome(Outcome(ref.folder, ref.key, examination.identity, state, reason))
