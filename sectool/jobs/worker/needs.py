"""What a worker does to tell which old keys one stored message still needs.

Runs in any process and changes nothing. When in doubt, a key is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from sectool import cms, smime
from sectool.errors import (
    CheckpointDamaged,
    DecryptionFailed,
    MalformedMessage,
    MessageError,
    MissingKey,
    NotAccepted,
)
from sectool.jobs.worker.checkpoints import CheckpointPlace
from sectool.jobs.worker.keyring import open_part
from sectool.keys import KeyHistory, KeyMaterial
from sectool.mailbox import MailboxSpecification, open_mailbox
from sectool.message import Content, Listing
from sectool.outcome import State

LAYERS = 7
"""Envelopes inside each other that are looked at."""


@dataclass(frozen=True, slots=True)
class NeedArgument:
    """What a worker that looks for needed keys is made from."""

    mailbox: MailboxSpecification
    retired: KeyMaterial
    """The old keys."""
    current: KeyMaterial | None
    """The new keys."""
    checkpoints: CheckpointPlace


@dataclass(frozen=True, slots=True)
class NeedTask:
    """One stored message to look at."""

    listing: Listing
    checkpoints: tuple[tuple[str, str], ...]
    """Part path and content digest of the checkpoint, where it is a replaced message."""
    resealed: frozenset[str] = frozenset()
    """Content digests of the layers in those checkpoints that were encrypted again."""
    is_new: bool = False
    """It came to the new recipients after the move, as far as its envelope tells."""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class Needs:
    """Which old keys one message needs, by their number in the history."""

    keys: frozenset[int] = frozenset()
    unread: bool = False
    """Not all of it could be looked into, so it may need any other as well."""


class NeedContext:
    """The mailbox, both histories and the checkpoints, opened once in each worker."""

    def __init__(self, argument: NeedArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.retired = KeyHistory.from_material(argument.retired)
        self.current = _others(argument.current, self.retired)
        self.checkpoints = argument.checkpoints.store()
        # By their operations, which is what a recipient leads to.
        self.numbers = {id(key.operations): n for n, key in enumerate(self.retired.keys)}

    def explains(self, recipient: cms.RecipientDescription, *, tried: bool) -> bool:
        """Whether it is known whose key a recipient is: one of the old keys, or no old one.

        Args:
            recipient: of a part.
            tried: whether the new keys were, and did not open it: an authority that was
                made anew gives serial numbers once more.
        """
        identifier = recipient.identifier
        if identifier is None or self.retired.find(identifier):
            return True
        return not tried and self.current is not None and bool(self.current.find(identifier))


def _others(current: KeyMaterial | None, retired: KeyHistory) -> KeyHistory | None:
    """The new keys, less those that are asked about: no key stands in for itself."""
    if current is None:
        return None
    asked = {key.public_key_info for key in retired.keys}
    history = KeyHistory.from_material(current)
    return KeyHistory(key for key in history.keys if key.public_key_info not in asked)


def find_needs(context: NeedContext, task: NeedTask) -> Needs:
    """Which of the old keys one stored message needs."""
    needed: set[int] = set()
    try:
        content = context.mailbox.fetch(task.listing.ref).content
        inventory = smime.take_inventory(content)
        if _is_opaque(inventory) or inventory.hidden:
            return Needs(unread=True)
        if task.is_new and context.current is None and (inventory.parts or inventory.covered):
            return Needs(unread=True)  # an envelope to an old key may have been forwarded in it
        kept = dict(task.checkpoints)
        layers: list[_Layer] = [(content, part, kept.get(part.path)) for part in inventory.parts]
        layers += [(covered.content, covered.part, None) for covered in inventory.covered]
        for number in _needed(context, layers, task.resealed, LAYERS):
            needed.add(number)
    except (MessageError, CheckpointDamaged, MemoryError):
        # One that vanished may have been moved to a folder that was walked before.
        return Needs(frozenset(needed), unread=True)
    return Needs(frozenset(needed))


def _is_opaque(inventory: smime.Inventory) -> bool:
    """Whether it is a file that no header could be read of, such as a compressed one."""
    readable = inventory.parts or inventory.message_id or inventory.header_date
    return inventory.state is State.UNSUPPORTED and not readable


_Layer = tuple[Content, smime.EncryptedPart, str | None]
"""An encrypted part, the content it lies in, and the content digest of its checkpoint if any."""


def _needed(
    context: NeedContext, layers: list[_Layer], resealed: frozenset[str], depth: int
) -> Iterator[int]:
    """Old keys that a reader of these layers needs, or of those inside what can be looked into.

    Raises:
        MessageError: what lies inside a plaintext cannot be told.
    """
    if layers and not depth:
        raise MessageError(f"more than {LAYERS} envelopes lie inside each other")
    for content, part, checkpoint in layers:
        if part.envelope.digest in resealed:
            # It is in the checkpoint only: in the mailbox another stands in its place.
            inside = _kept(context, part.envelope.digest)
            if inside is None:
                raise MessageError("a layer that was encrypted again cannot be looked into")
            yield from _needed(context, _inside(*inside), resealed, depth - 1)
            continue
        envelope = _described(context, content, part)
        named = set(_named(context, envelope))
        inside = _kept(context, checkpoint)
        opened = False
        tries = context.current is not None and (named or inside is None)
        if context.current is not None and tries:
            opened, plaintext = _open(content, part, context.current)
            inside = inside or plaintext
        if not opened:
            needed, plaintext = _opened_by_old(
                context, content, part, envelope, named, tried=bool(tries)
            )
            yield from needed
            inside = inside or plaintext
            if needed and inside is None:
                raise MessageError("it needs an old key, and what lies inside cannot be told")
        if checkpoint is not None and inside is None:
            # An envelope that keeps its recipients may lie inside of what was replaced.
            raise MessageError("neither its checkpoint nor a new key opens it")
        if inside is not None:
            yield from _needed(context, _inside(*inside), resealed, depth - 1)


def _described(
    context: NeedContext, content: Content, part: smime.EncryptedPart
) -> cms.EnvelopeDescription:
    """Whom a part is to, with all whose keys are asked about or at hand.

    Raises:
        MessageError: that cannot be told.
    """

    def is_held(identifier: cms.RecipientIdentifier) -> bool:
        current = context.current
        return context.retired.holds(identifier) or bool(current and current.holds(identifier))

    envelope = smime.describe_for(content, part, is_held)
    if not envelope.recipients_complete:
        raise MessageError("too many of its recipients name the keys at hand")
    return envelope


def _named(context: NeedContext, envelope: cms.EnvelopeDescription) -> Iterator[int]:
    for recipient in envelope.recipients:
        if recipient.identifier is not None:
            for key in context.retired.find(recipient.identifier):
                yield context.numbers[id(key)]


def _opened_by_old(
    context: NeedContext,
    content: Content,
    part: smime.EncryptedPart,
    envelope: cms.EnvelopeDescription,
    named: Collection[int],
    *,
    tried: bool,
) -> tuple[set[int], _Plaintext | None]:
    """The old keys that a part needs, and its plaintext where one of them gives it.

    Beside those that it names, each one that opens it: it may name a certificate of the
    same key that nobody gave, as after a renewal.

    Raises:
        MessageError: that cannot be told.
    """
    needed = set(named)
    plaintext = _open(content, part, context.retired)[1] if named else None
    recipients = envelope.recipients
    are_all = len(recipients) == envelope.recipients_total
    if are_all and all(context.explains(one, tried=tried) for one in recipients):
        return needed, plaintext
    if envelope.recipients_total > cms.DEFAULT_LIMITS.unnamed_attempts:
        raise MessageError("it has too many recipients for each key to be tried on each")
    for number, key in enumerate(context.retired.keys):
        if number in needed:
            continue
        alone = KeyHistory((replace(key, certificates=()),), tries_unnamed_keys=True)
        try:
            inner = open_part(content, part, alone)
        except NotAccepted:
            needed.add(number)
        except (MissingKey, DecryptionFailed, MalformedMessage):
            continue
        else:
            needed.add(number)
            plaintext = plaintext or (smime.content_of(inner), inner.content_type)
    return needed, plaintext


def _inside(plaintext: Content, content_type: str) -> list[_Layer]:
    inside = smime.look_inside(plaintext, content_type)
    if inside.problem:
        raise MessageError(inside.problem)
    layers: list[_Layer] = [(plaintext, part, None) for part in inside.parts]
    return layers + [(covered.content, covered.part, None) for covered in inside.covered]


_Plaintext = tuple[Content, str]
"""A plaintext and its content type, dotted."""


def _kept(context: NeedContext, content_digest: str | None) -> _Plaintext | None:
    if content_digest is None:
        return None
    try:
        checkpoint = context.checkpoints.open(content_digest)
    except CheckpointDamaged:
        return None  # purged, as a rule
    return checkpoint.inner, checkpoint.content_type


def _open(
    content: Content, part: smime.EncryptedPart, keys: KeyHistory
) -> tuple[bool, _Plaintext | None]:
    """Whether these keys open a part, and its plaintext, which is never kept."""
    try:
        inner = open_part(content, part, keys)
        return True, (smime.content_of(inner), inner.content_type)
    except MessageError:
        return False, None
