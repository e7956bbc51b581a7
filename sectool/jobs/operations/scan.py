"""``scan``: says what a mailbox holds, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sectool.joblog import Examination
from sectool.jobs.passes import bindings
from sectool.jobs.passes.preflight import Survey, free_bytes, readable_if_opened
from sectool.jobs.passes.selection import Selector, count, walk
from sectool.jobs.passes.tally import count_examination, count_not_selected
from sectool.jobs.session.session import Session, name_shut_key_files
from sectool.jobs.session.spec import Scan
from sectool.jobs.work.examine import (
    ExamineArgument,
    ExamineTask,
    examine_all,
)
from sectool.jobs.work.open_with import tried_with, workers_for
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.message import MessageRef
from sectool.outcome import State
from sectool.summary import OpeningSummary


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
    summary = OpeningSummary(mailbox=mailbox.specification.url, phase=spec.operation)
    selector = Selector(spec.selection)
    survey = Survey(keys, session.any_history(spec.new_keys))
    started = time.monotonic()

    def tasks() -> Iterator[ExamineTask]:
        for listing in walk(mailbox, cancel):
            if selector.takes(listing):
                yield ExamineTask(listing)
            else:
                count_not_selected(summary, listing)

    argument = _argument(spec, mailbox, keys)
    trials = None if keys is None else bindings.Trials(keys, bindings.SCAN_OPERATIONS)
    shut: dict[MessageRef, Examination] = {}
    progress.begin("scan", count(mailbox, progress, cancel))
    for answer in examine_all(tasks(), argument, workers=workers_for(spec.workers, keys)):
        if answer.examination is not None:
            if trials is not None and trials.saw(answer):
                shut[answer.examination.ref] = answer.examination
            else:
                _count(summary, survey, answer.examination)
        progress.advance()
        cancel.check()
    progress.end()
    if trials is not None:
        trials.run(argument, workers=spec.workers, progress=progress, cancel=cancel)
        again = map(trials.task, trials.named_by(shut.values()))
        workers = workers_for(spec.workers, trials.keys)
        for answer in examine_all(again, trials.argument(argument, ""), workers=workers):
            if answer.examination is not None:
                shut[answer.examination.ref] = answer.examination
            cancel.check()
        trials.describe(summary)
    for examination in shut.values():
        _count(summary, survey, examination)
    survey.not_selected = summary.counts[State.NOT_SELECTED]
    survey.passed_over = len(mailbox.passed_over)
    space_free = free_bytes(mailbox, None)
    summary.preflight = survey.verdict(space_free, time.monotonic() - started, summary.bytes)
    if summary.missing_a_key:
        name_shut_key_files(summary, keys)
    return summary


def _argument(spec: Scan, mailbox: Mailbox, keys: KeyHistory | None) -> ExamineArgument:
    return ExamineArgument(
        mailbox=mailbox.access,
        material=None if keys is None else keys.material,
        tried_with=tried_with(keys, spec.part_selection),
        checkpoints=None,
        released=spec.released,
        part_selection=spec.part_selection,
    )


def _count(summary: OpeningSummary, survey: Survey, examination: Examination) -> None:
    state = readable_if_opened(examination.state)
    count_examination(summary, examination, state)
    survey.add(examination, state)
