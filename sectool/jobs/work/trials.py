"""What a worker does to try keys on a certificate that is not at hand, with one message.

Each key is tried alone, as if the message named it, so that what opens is
accepted by the same rule as ever (G3). Nothing is kept of what opens.
"""

from __future__ import annotations

from sectool import cms, smime
from sectool.budget import current
from sectool.errors import MessageError, NotAccepted
from sectool.jobs.work.examine import ExamineContext
from sectool.jobs.work.open_with import find_opening
from sectool.jobs.work.work import WorkKind
from sectool.keys import KeyHistory
from sectool.message import Listing, MessageRef
from sectool.outcome import ContentDigest, PublicKeyDigest, RecipientKey
from sectool.values import dataclass

MOST_NAMED = 3
"""RecipientInfos of one part that may name the certificate; each is a private-key operation."""


@dataclass(frozen=True, slots=True)
class TrialTask:
    """One message, a certificate it names, and the keys to try."""

    listing: Listing
    recipient: RecipientKey
    """Without an address."""
    kind: cms.KeyKind
    """Of the key it asks for."""
    public_keys: tuple[PublicKeyDigest, ...]
    """SHA-256 of each SubjectPublicKeyInfo, in the order in which they are tried."""

    @property
    def ref(self) -> MessageRef:
        """The message."""
        return self.listing.ref

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one trial."""

    content_digest: ContentDigest = ContentDigest("")
    """Of the part it was tried on; empty: there is none any more."""
    opens: tuple[PublicKeyDigest, ...] = ()
    """The keys that opened it to what is accepted, by SHA-256 as in the task."""
    is_proven: bool = False
    """Whether the decryption itself proves the first of them to be the right one."""
    for_review: tuple[PublicKeyDigest, ...] = ()
    """The keys that opened it to what a person has to look at."""


def try_keys(context: ExamineContext, task: TrialTask) -> Tried:
    """Tries keys on the first part of a message that names a certificate.

    The first key that proves itself ends it; else all are tried, since two that open it to
    different mail prove nothing. Keys on tokens are left alone where another opens it.

    Raises:
        MessageError: it could not be read.
    """
    assert context.keys is not None
    content = context.mailbox.fetch(task.listing.ref).content
    inventory = smime.take_inventory(content, selection=context.part_selection)
    part = next((part for part in inventory.parts if _names(part, task.recipient)), None)
    if part is None:
        return Tried()
    tried = _try_on(context.keys, part, task, context.released)
    # Of several keys some may not have been tried.
    return Tried() if current().reason else tried


TRY_KEYS = WorkKind(ExamineContext, try_keys)


def _names(part: smime.EncryptedPart, recipient: RecipientKey) -> bool:
    """Whether a part names a certificate, and not so often that one key is tried many times."""
    names = [one.key for one in part.envelope.recipients]
    return 0 < names.count(recipient) <= MOST_NAMED


def _try_on(
    keys: KeyHistory,
    part: smime.EncryptedPart,
    task: TrialTask,
    released: frozenset[str],
) -> Tried:
    opens: dict[PublicKeyDigest, str] = {}
    for_review: list[PublicKeyDigest] = []
    digest = part.envelope.digest
    for public_key in task.public_keys:
        alone = keys.alone(public_key, task.recipient)
        if opens and alone.keys[0].operations.is_on_token:
            break
        try:
            found = find_opening(part, alone, released, senders=keys)
        except NotAccepted:
            for_review.append(public_key)
        except MessageError:
            continue
        else:
            if found.is_proven:
                return Tried(digest, (public_key,), is_proven=True)
            opens[public_key] = found.inner.sha256
    if len(set(opens.values())) > 1:
        return Tried(digest)
    return Tried(digest, tuple(opens), for_review=tuple(for_review))
