"""Opens replaced messages with the new private keys: proof ``opened`` (G1)."""

from __future__ import annotations

from collections.abc import Iterator

from sectool.jobs.passes.selection import Selector, listing_of
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, JobSpec
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.pool import Died, run_tasks
from sectool.jobs.work.prove import ProveArgument, ProveContext, Proved, ProveTask, Verdict, prove
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.outcome import Proof, State
from sectool.progress import Progress

GROUP = 256
"""Proofs logged together."""


def prove_replaced(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    keys: KeyHistory,
    *,
    progress: Progress,
    cancel: Cancel,
) -> None:
    """Opens the replaced messages that the walk found, and logs what came of it.

    Args:
        spec: its selection counts; ``deep``: also those that were opened before.
        job: its log knows which messages the walk found.
        mailbox: where they are.
        keys: the new private keys.
        progress: told of each message.
        cancel: asked between messages.
    """
    tasks = list(_tasks(spec, job))
    progress.begin("open", len(tasks))
    group: list[Proved] = []
    for answer in run_tasks(
        prove,
        tasks,
        make_context=ProveContext,
        context_argument=ProveArgument(mailbox.specification, keys.material),
        workers=workers_for(spec.workers, keys),
    ):
        group.append(_answer(answer))
        progress.advance()
        if len(group) >= GROUP:
            _take_down(job, group)
            group = []
        cancel.check()
    _take_down(job, group)
    progress.end()


def _answer(answer: Proved | Died[ProveTask]) -> Proved:
    if isinstance(answer, Died):
        return Proved(answer.task.message.message, Verdict.FAILED, answer.reason)
    return answer


def _tasks(spec: JobSpec, job: Job) -> Iterator[ProveTask]:
    selector = Selector(spec.selection)
    for message in job.log.replaced.to_prove(again=spec.deep):
        if selector.takes(listing_of(message)):
            yield ProveTask(message)


def _take_down(job: Job, group: list[Proved]) -> None:
    with job.log.group():
        for answer in group:
            _log(job, answer)


def _log(job: Job, answer: Proved) -> None:
    messages = job.log.messages
    if answer.verdict is Verdict.OPENED:
        messages.prove(answer.message, Proof.OPENED)
    elif answer.verdict is Verdict.FAILED:
        messages.advance(answer.message, State.FAILED, reason=answer.reason)
    elif answer.verdict is Verdict.CHANGED:
        messages.set_changed(answer.message)
    else:
        messages.unsee(answer.message)
