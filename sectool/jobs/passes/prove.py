"""Opens replaced messages with the new private keys: proof ``opened`` (G1)."""

from __future__ import annotations

from collections.abc import Container, Iterator

from sectool.errors import MessageChanged, MessageVanished
from sectool.joblog import ReplacedMessage
from sectool.jobs.passes.selection import Selector, listing_of
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, JobSpec
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.prove import PROVE, ProveArgument
from sectool.jobs.work.work import NotDone
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.outcome import Proof
from sectool.progress import Progress

GROUP = 256
"""Proofs logged together."""


def prove_replaced(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    keys: KeyHistory,
    *,
    unread: Container[int] = (),
    progress: Progress,
    cancel: Cancel,
) -> None:
    """Opens the replaced messages that the walk found, and logs what came of it.

    Args:
        spec: its selection counts; ``deep``: also those that were opened before.
        job: its log knows which messages the walk found.
        mailbox: where they are.
        keys: the new private keys.
        unread: messages that cannot be read now, which is told of them already.
        progress: told of each message.
        cancel: asked between messages.
    """
    messages = [one for one in _messages(spec, job) if one.message not in unread]
    progress.begin("open", len(messages))
    group: list[tuple[int, NotDone | None]] = []
    argument = ProveArgument(mailbox.access, keys.material)
    for message, answer in PROVE.run(messages, argument, workers=workers_for(spec.workers, keys)):
        group.append((message.message, answer))
        progress.advance()
        if len(group) >= GROUP:
            _take_down(job, group)
            group = []
        cancel.check()
    _take_down(job, group)
    progress.end()


def _messages(spec: JobSpec, job: Job) -> Iterator[ReplacedMessage]:
    selector = Selector(spec.selection)
    for message in job.log.replaced.to_prove(again=spec.deep):
        if selector.takes(listing_of(message)):
            yield message


def _take_down(job: Job, group: list[tuple[int, NotDone | None]]) -> None:
    messages = job.log.messages
    with job.log.group():
        for message, answer in group:
            if answer is None:
                messages.prove(message, Proof.OPENED)
            elif issubclass(answer.error, MessageVanished):
                messages.unsee(message)
            elif issubclass(answer.error, MessageChanged):
                messages.set_changed(message)
            else:
                messages.advance(message, answer.state, reason=answer.reason)
