"""What a worker does to open one replaced message with the new private keys (G1).

What is decrypted is compared with the digest in the log and discarded as it
comes; that digest proves more than any look at the content could, so the
content is not judged again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sectool import cms, smime
from sectool.errors import (
    DecryptionFailed,
    MessageChanged,
    MessageError,
    MessageVanished,
    MissingKey,
    why_unread,
)
from sectool.joblog import ReplacedMessage, SealablePart
from sectool.keys import KeyHistory, KeyMaterial
from sectool.mailbox import MailboxSpecification, open_mailbox
from sectool.message import StoredMessage


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
    except (OSError, MemoryError) as error:
        return Proved(message, Verdict.FAILED, why_unread(error))
    return Proved(message, Verdict.OPENED)


def _prove(keys: KeyHistory, message: ReplacedMessage, stored: StoredMessage) -> None:
    inventory = smime.take_inventory(stored.content)
    if inventory.identity != message.identity:
        raise MessageChanged("the message is not the one the job knows")
    known = {part.path: part for part in message.parts}
    found = [part for part in inventory.parts if part.path in known]
    if len(found) != len(known):
        raise MessageError("it does not hold the parts the job knows")
    for part in found:
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
