"""What a worker does to look at the heads of stored messages: it reads them, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import groupby, islice

from sectool import smime
from sectool.budget import Work, current
from sectool.cms.seams import RecipientIdentifier
from sectool.errors import MessageError, MessageVanished
from sectool.jobs.work.work import MailboxContext, NotDone, WorkKind
from sectool.mailbox import Access, MessageHead
from sectool.message import Listing, MessageRef
from sectool.values import dataclass

_HEADS = 256
"""Messages of a task: one alone is small beside the cost of sending it."""


@dataclass(frozen=True, slots=True)
class GlanceArgument:
    """What a worker that looks at heads is made from."""

    mailbox: Access


@dataclass(frozen=True, slots=True)
class GlanceTask:
    """Some messages of one folder."""

    folder: str
    keys: tuple[str, ...]
    bytes: int
    """Of all of them as stored."""

    @property
    def size(self) -> int:
        """Bytes that are read, at most."""
        return len(self.keys) * smime.GLANCE_SIZE


@dataclass(slots=True)
class Glances:
    """What was seen of some messages."""

    folders: Counter[str] = field(default_factory=Counter)
    """How many messages of each."""
    bytes: int = 0
    """As stored; of those that cannot be read not known."""
    encrypted: int = 0
    recipients: Counter[RecipientIdentifier | None] = field(default_factory=Counter)
    """How many messages name each; None: recipients that no certificate names."""
    content_encryption_algorithms: Counter[str] = field(default_factory=Counter)

    def add(self, other: Glances) -> None:
        """Counts what was seen of others, too."""
        self.folders.update(other.folders)
        self.bytes += other.bytes
        self.encrypted += other.encrypted
        self.recipients.update(other.recipients)
        self.content_encryption_algorithms.update(other.content_encryption_algorithms)


def _glance(context: MailboxContext, task: GlanceTask) -> Glances:
    # Read first and looked at then: taking turns costs a sixth more.
    found = [_head(context, task.folder, key) for key in task.keys]
    heads = [one for one in found if one is not None]
    seen = Glances(Counter({task.folder: len(heads)}), sum(size for _, size in heads))
    largest = current().left(Work.SIZE)
    for head, size in heads:
        envelope = smime.glance(head, size) if 0 < size <= largest else None
        if envelope is not None:
            seen.encrypted += 1
            seen.recipients.update(dict.fromkeys(envelope.recipients, 1))
            seen.content_encryption_algorithms[envelope.content_encryption_algorithm] += 1
    return seen


def _head(context: MailboxContext, folder: str, key: str) -> MessageHead | None:
    """An empty one where it cannot be read; None: the message is not there any more."""
    try:
        return context.mailbox.head(MessageRef(folder, key), smime.GLANCE_SIZE)
    except MessageVanished:
        return None
    except MessageError:
        return MessageHead(b"", 0)


def _refs(task: GlanceTask) -> list[MessageRef]:
    return [MessageRef(task.folder, key) for key in task.keys]


_GLANCE = WorkKind(MailboxContext, _glance, _refs, smime.GLANCE_SIZE)


def glance_at_all(
    listings: Iterable[Listing], argument: GlanceArgument, *, workers: int
) -> Iterator[Glances]:
    """What workers see of messages; of a group whose worker died, that nothing was read.

    Args:
        listings: taken as workers get free.
        argument: says where they are.
        workers: processes; 0: this one.
    """
    for task, answer in _GLANCE.run(_tasks(listings), argument, workers=workers):
        if isinstance(answer, NotDone):
            yield Glances(Counter({task.folder: len(task.keys)}), task.bytes)
        else:
            yield answer


def _tasks(listings: Iterable[Listing]) -> Iterator[GlanceTask]:
    for folder, several in groupby(listings, lambda listing: listing.ref.folder):
        while group := list(islice(several, _HEADS)):
            keys = tuple(listing.ref.key for listing in group)
            yield GlanceTask(folder, keys, sum(listing.size for listing in group))
