"""The stored copy of a message: what it is known by, and whether it is the one a job knows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from sectool import smime
from sectool.errors import MessageChanged
from sectool.joblog import IN_CLEAR, JobMessage
from sectool.jobs.work.work import MailboxContext, NotDone, WorkKind
from sectool.mailbox import Access, Mailbox, MessageSource
from sectool.message import MessageRef, StoredMessage
from sectool.outcome import Identity
from sectool.values import dataclass


def known_as(inventory: smime.Inventory) -> tuple[Identity, Identity]:
    """What a message is known by as it lies there, and as a plaintext copy of a job."""
    copy = inventory.as_copy
    return inventory.identity, Identity("" if copy is None else f"{IN_CLEAR}{copy}")


def fetch_known(
    mailbox: MessageSource, message: JobMessage
) -> tuple[StoredMessage, smime.Inventory]:
    """The stored copy of a message of the job, and what is in it.

    Raises:
        MessageChanged: it is another one.
        MessageError: it cannot be read.
    """
    stored = mailbox.fetch(message.ref)
    inventory = smime.take_inventory(stored.content)
    if message.identity not in known_as(inventory):
        raise MessageChanged("the message is not the one the job knows")
    return stored, inventory


@dataclass(frozen=True, slots=True)
class CopyTask:
    """A stored copy that is to be looked at."""

    ref: MessageRef
    size: int
    """Bytes that it has, if it is what it is taken for."""


@dataclass(frozen=True, slots=True)
class KnownCopy:
    """What a stored copy is."""

    names: tuple[str, str]
    """As ``known_as`` has them."""
    digest: str
    """SHA-256 of its bytes."""
    revision: str


@dataclass(frozen=True, slots=True)
class CopyArgument:
    """What a worker that looks at copies is made from."""

    mailbox: Access


def _look_at(context: MailboxContext, task: CopyTask) -> KnownCopy:
    stored = context.mailbox.fetch(task.ref)
    names = known_as(smime.take_inventory(stored.content))
    return KnownCopy(names, stored.content.digest, stored.revision)


_LOOK_AT = WorkKind(MailboxContext, _look_at)


class Looker:
    """Looks at copies with a worker, since anything may lie there, which stays until ``close``.

    Args:
        mailbox: where they are.
        workers: processes; 0: this one.
    """

    def __init__(self, mailbox: Mailbox, *, workers: int) -> None:
        self._argument = CopyArgument(mailbox.access)
        self._workers = min(workers, 1)
        self._standing = _LOOK_AT.standing(self._argument, workers=self._workers)

    def look_at(self, tasks: Iterable[CopyTask]) -> dict[MessageRef, KnownCopy | NotDone]:
        """What copies are; each is read once."""
        once = {task.ref: task for task in tasks}
        answers = _LOOK_AT.run(
            once.values(), self._argument, workers=self._workers, standing=self._standing
        )
        return {task.ref: answer for task, answer in answers}

    def close(self) -> None:
        """Lets the worker go."""
        self._standing.close()


def look_at_copies(
    mailbox: Mailbox, tasks: Iterable[CopyTask], *, workers: int
) -> dict[MessageRef, KnownCopy | NotDone]:
    """The same once.

    Args:
        mailbox: where they are.
        tasks: the copies.
        workers: processes; 0: this one.
    """
    with closing(Looker(mailbox, workers=workers)) as looker:
        return looker.look_at(tasks)
