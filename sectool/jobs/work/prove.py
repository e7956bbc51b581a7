"""What a worker does to open one replaced message with the new private keys (G1).

What is decrypted is compared with the digest in the log and discarded as it
comes; that digest proves more than any look at the content could, so the
content is not judged again.
"""

from __future__ import annotations

from sectool import cms, smime
from sectool.errors import DecryptionFailed, MessageChanged, MessageError, MissingKey
from sectool.joblog import JobMessage, SealablePart
from sectool.jobs.work.work import MailboxContext, WorkKind
from sectool.keys import KeyHistory, KeyMaterial
from sectool.mailbox import Access
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class ProveArgument:
    """What a worker that proves messages is made from."""

    mailbox: Access
    material: KeyMaterial
    """The new private keys."""


class ProveContext(MailboxContext):
    """The mailbox and the new keys, opened once in each worker."""

    def __init__(self, argument: ProveArgument) -> None:
        super().__init__(argument)
        self.keys = KeyHistory.from_material(argument.material)


def prove(context: ProveContext, message: JobMessage) -> None:
    """Opens every part of one replaced message and compares it with the log.

    Raises:
        MessageChanged: the copy at its place is another one.
        MessageVanished: there is none.
        MessageError: a part does not open to what the log says.
    """
    content = context.mailbox.fetch(message.ref).content
    inventory = smime.take_inventory(content)
    if inventory.identity != message.identity:
        raise MessageChanged("the message is not the one the job knows")
    known = {part.path: part for part in message.parts}
    found = [part for part in inventory.parts if part.path in known]
    if len(found) != len(known):
        raise MessageError("it does not hold the parts the job knows")
    for part in found:
        try:
            _prove_part(part, context.keys, known[part.path])
        except MissingKey as error:
            raise MissingKey("no key of --verify-keys opens it") from error


PROVE = WorkKind(ProveContext, prove)


def _prove_part(part: smime.EncryptedPart, keys: KeyHistory, wanted: SealablePart) -> None:
    differs = False
    known = wanted.inner_sha256, wanted.checkpoint.content_type
    for opening in cms.find_openings(part.source, keys, known=part.envelope):
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
