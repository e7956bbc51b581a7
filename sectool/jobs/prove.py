"""Opens replaced messages with the new private keys: proof ``opened`` (G1).

What is decrypted is compared with the digest in the log and discarded as it
comes; that digest proves more than any look at the content could, so the
content is not judged again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from sectool import cms, smime
from sectool.errors import (
    DecryptionFailed,
    MessageChanged,
    MessageError,
    MessageVanished,
    MissingKey,
)
from sectool.joblog import ReplacedMessage, SealablePart
from sectool.jobs.job import Job
from sectool.jobs.keyring import workers_for
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.spec import Cancel, JobSpec
from sectool.jobs.walk import Selector
from sectool.keys import KeyHistory, KeyMaterial
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from sectool.message import Flags, Listing, StoredMessage
from sectool.outcome import Proof, State
from sectool.progress import Progress

GROUP = 256
"""Proofs logged together."""


@dataclass(frozen=True, slots=True)
class ProveArgument:
    """What a worker that proves messages is made from."""

    mailbox: MailboxSpecification
    material: KeyMaterial
    """The new private keys."""


@dataclass(frozen=True, slots=True)
class ProveTask:
    """One replaced message to open."""

    message: ReplacedMessage

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


class Verdict(Enum):
    """What came of opening a replaced message."""

    OPENED = auto()
    """Every part opened to what the log says."""
    FAILED = auto()
    CHANGED = auto()
    """The copy at its place is another one."""
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Proved:
    """The answer for one replaced message."""

    message: int
    verdict: Verdict
    reason: str = ""


class ProveContext:
    """The mailbox and the new keys, opened once in each worker."""

    def __init__(self, argument: ProveArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.keys = KeyHistory.from_material(argument.material)


def prove(context: ProveContext, task: ProveTask) -> Proved:
    """Opens every part of one replaced message and compares it with the log."""
    message = task.message.message
    try:
        stored = context.mailbox.fetch(task.message.ref)
        _prove(context.keys, task.message, stored)
    except MessageVanished:
        return Proved(message, Verdict.GONE)
    except MessageChanged as error:
        return Proved(message, Verdict.CHANGED, error.message)
    except MissingKey:
        return Proved(message, Verdict.FAILED, "no key of --verify-keys opens it")
    except MessageError as error:
        return Proved(message, Verdict.FAILED, error.message)
    except MemoryError:
        reason = "it needs more memory than a message may take"
        return Proved(message, Verdict.FAILED, reason)
    return Proved(message, Verdict.OPENED)


def _prove(keys: KeyHistory, message: ReplacedMessage, stored: StoredMessage) -> None:
    inventory = smime.take_inventory(stored.content)
    if inventory.identity != message.identity:
        raise MessageChanged("the message is not the one the job knows")
    known = {part.path: part for part in message.parts}
    if [part.path for part in inventory.parts] != list(known):
        raise MessageError("it does not hold the parts the job knows")
    for part in inventory.parts:
        _prove_part(smime.PartSource(stored.content, part), keys, known[part.path])


def _prove_part(source: smime.PartSource, keys: KeyHistory, wanted: SealablePart) -> None:
    differs = False
    known = wanted.inner_sha256, wanted.checkpoint.content_type
    for opening in cms.find_openings(source, keys):
        try:
            opened = opening.decrypt(cms.DISCARD)
        except DecryptionFailed:
            continue
        if (opened.sha256, opened.content_type) == known:
            return
        differs = True
    if differs:
        raise MessageError("it opens to something else than was encrypted")
    raise DecryptionFailed


# --- in the parent ------------------------------------------------------------------


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


def listing_of(message: ReplacedMessage) -> Listing:
    """What a selection asks of a message."""
    date = datetime.fromisoformat(message.internal_date)
    return Listing(message.ref, message.size, Flags(), "", date)


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
