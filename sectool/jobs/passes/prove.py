"""Opens replaced messages with the new private keys: proof ``opened`` (G1)."""

from __future__ import annotations

from collections.abc import Container, Iterator

from sectool.errors import MessageChanged, MessageVanished
from sectool.joblog import JobMessage
from sectool.jobs.passes.selection import Selector
from sectool.jobs.session.job import Job
from sectool.jobs.session.session import JobSession
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.prove import PROVE, ProveArgument
from sectool.jobs.work.work import NotDone
from sectool.keys import KeyHistory
from sectool.outcome import Proof, State

GROUP = 256
"""Proofs logged together."""


def prove_replaced(
    on: JobSession, keys: KeyHistory, *, again: bool = False, unread: Container[int] = ()
) -> None:
    """Opens the replaced messages that the walk found, and logs what came of it.

    Args:
        on: the job, whose log knows which messages the walk found; its selection counts.
        keys: the new private keys.
        again: also those that were opened before.
        unread: messages that cannot be read now, which is told of them already.
    """
    messages = [one for one in _messages(on, again=again) if one.message not in unread]
    on.progress.begin("open", len(messages))
    group: list[tuple[int, NotDone | None]] = []
    argument = ProveArgument(on.mailbox.access, keys.material)
    for message, answer in PROVE.run(messages, argument, workers=workers_for(on.workers, keys)):
        group.append((message.message, answer))
        on.progress.advance()
        if len(group) >= GROUP:
            _take_down(on.job, group)
            group = []
        on.cancel.check()
    _take_down(on.job, group)
    on.progress.end()


def _messages(on: JobSession, *, again: bool) -> Iterator[JobMessage]:
    selector = Selector(on.selection)
    for message in on.job.log.replaced.to_prove(again=again):
        if selector.takes(message.listing):
            yield message


def _take_down(job: Job, group: list[tuple[int, NotDone | None]]) -> None:
    messages = job.log.messages
    with job.log.group():
        for message, answer in group:
            if answer is None:
                messages.advance(message, State.VERIFIED, proof=Proof.OPENED)
            elif issubclass(answer.error, MessageVanished):
                messages.unsee(message)
            elif issubclass(answer.error, MessageChanged):
                messages.set_changed(message)
            else:
                messages.advance(message, answer.state, reason=answer.reason)
