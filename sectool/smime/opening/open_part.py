"""Opens an encrypted part with the keys at hand (RFC 8551 section 3.3).

Nothing leaves before it was accepted: small content is held in memory, large
content is decrypted twice, the first time only to be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import BytesIO

from sectool import cms
from sectool.errors import DecryptionFailed, MessageChanged, MessageError, NotAccepted
from sectool.message import BytesContent, InnerEntity, Sink
from sectool.smime.opening.acceptance import accept
from sectool.smime.opening.pushed_content import PushedContent
from sectool.smime.opening.strict_test import PlaintextWitness
from sectool.smime.parts import EncryptedPart
from sectool.values import dataclass

_HELD_OF_LARGE = 4 * 1024 * 1024
"""Bytes of content held at most of a message that is not in memory: it may have many parts."""


@dataclass(frozen=True, slots=True)
class OpenedPart:
    """A part that was opened and accepted, and how."""

    inner: InnerEntity
    opening: cms.Opening
    """By whose key; one of them where several give the same mail."""
    is_proven: bool
    """Whether the decryption itself proves the key to be the right one."""


def describe_for(part: EncryptedPart, wanted: cms.IdentifierFilter) -> cms.EnvelopeDescription:
    """The envelope of a part, with every recipient that is asked for.

    An inventory keeps the first recipients of a crowd; what is concluded from a name that is
    not among them is concluded from this.

    Args:
        part: of an inventory.
        wanted: whether a recipient is asked for, such as ``KeyHistory.holds``.

    Raises:
        MessageError: the part cannot be read any more.
    """
    if part.envelope.recipients_complete:
        return part.envelope
    return cms.describe_envelope(part.source, wanted=wanted)


def find_opening(
    part: EncryptedPart,
    keys: cms.KeySource,
    *,
    secrets: cms.SharedSecrets = cms.NO_SECRETS,
    unnamed_keys: Sequence[cms.KeyOperations] = (),
    senders: cms.SenderKeys | None = None,
    released: frozenset[str] = frozenset(),
    guessed: cms.IdentifierFilter | None = None,
    buffered_content: int = cms.DEFAULT_LIMITS.buffered_content,
) -> OpenedPart:
    """Decrypts a part with each key its recipients name, until one is proven right.

    Where none of those gives mail, passwords and keys that nothing names are all
    tried; what they give counts when it is one and the same mail (G3).

    Args:
        part: of an inventory.
        keys: the key history.
        secrets: shared keys and passwords.
        unnamed_keys: private keys to try on every recipient.
        senders: certificates for key agreements that name their sender by one.
        released: content digests of parts that are taken although nothing proves
            that they are mail, since a person looked.
        guessed: whether the keys of a recipient are only tried, although ``keys`` finds them.
        buffered_content: content up to this size is held in memory.

    Raises:
        MissingKey: no recipient is known to ``keys``, and nothing else opens it.
        DecryptionFailed: no key fits.
        NotAccepted: it opened, but is not certainly mail, or two keys give
            different mail.
        MalformedMessage: the CMS is damaged.
        UnsupportedMessage: its algorithms are not supported.
        MessageChanged: the content is not what the inventory was taken of.
    """
    openings = cms.find_openings(
        part.source,
        keys,
        known=part.envelope,
        secrets=secrets,
        unnamed_keys=unnamed_keys,
        senders=senders,
    )
    if openings.description.digest != part.envelope.digest:
        raise MessageChanged("the encrypted message changed since it was looked at")
    if not part.source.is_in_memory:
        buffered_content = min(buffered_content, _HELD_OF_LARGE)
    is_small = (openings.description.encrypted_content_size or 0) <= buffered_content
    return _first_proven(openings, part, released, guessed, is_small=is_small)


def _first_proven(
    openings: cms.Openings,
    part: EncryptedPart,
    released: frozenset[str],
    guessed: cms.IdentifierFilter | None,
    *,
    is_small: bool,
) -> OpenedPart:
    accepted: dict[str, OpenedPart] = {}
    refused: list[MessageError] = []
    for in_turn in openings.in_turn():
        for opening in in_turn:
            try:
                opened, inner = _open(opening, part, released, guessed, is_small=is_small)
            except (DecryptionFailed, NotAccepted) as error:
                refused.append(error)
                continue
            part_opened = OpenedPart(inner, opening, isinstance(opened, cms.Authenticated))
            if part_opened.is_proven and opening.is_named:
                return part_opened
            accepted.setdefault(inner.sha256, part_opened)
        if accepted:
            break
    return _the_one(accepted, refused, openings.failure)


def _the_one(
    accepted: dict[str, OpenedPart], refused: list[MessageError], failure: MessageError
) -> OpenedPart:
    if len(accepted) > 1:
        raise NotAccepted("ambiguous: two keys open it to different mail")
    for opened in accepted.values():
        return opened
    # What a person should look at must not hide behind another key's failure.
    raise next((error for error in refused if isinstance(error, NotAccepted)), failure)


def _open(
    opening: cms.Opening,
    part: EncryptedPart,
    released: frozenset[str],
    guessed: cms.IdentifierFilter | None,
    *,
    is_small: bool,
) -> tuple[cms.Authenticated | cms.Unproven, InnerEntity]:
    witness = PlaintextWitness(part.envelope.encrypted_content_type)
    plaintext: BytesContent | PushedContent
    if is_small:
        buffer = BytesIO()
        opened = opening.decrypt(buffer)
        plaintext = BytesContent(buffer.getvalue())
        witness.take(plaintext)
    else:
        opened = opening.decrypt(witness)
        plaintext = PushedContent(partial(_decrypt_again, opening, opened.sha256), opened.size)
    # Without an identifier it is a password or shared key, which a person gave for such mail.
    identifier = opening.identifier
    is_tried = guessed is not None and identifier is not None and guessed(identifier)
    is_named = identifier is None or (opening.is_named and not is_tried)
    return opened, accept(opened, witness, plaintext, is_named=is_named, released=released)


def _decrypt_again(opening: cms.Opening, sha256: str, sink: Sink) -> None:
    if opening.decrypt(sink).sha256 != sha256:
        raise MessageChanged("the encrypted message changed between two readings")
