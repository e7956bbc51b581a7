"""Finds and opens the encrypted layers inside what was decrypted, down to a bound.

A layer that cannot be opened, or that stays as it is, costs its message
nothing else: what is around it is moved all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sectool import cms, smime
from sectool.errors import MessageError
from sectool.joblog import LayerRecord
from sectool.jobs.worker.keyring import open_part
from sectool.keys import KeyHistory
from sectool.message import Content, InnerEntity
from sectool.outcome import RecipientKey

DEEPEST = 6
"""Envelopes inside each other that are opened; a triple wrap in a forward has three."""

MOST = 50
"""Layers of one message that are opened, each of which takes a private key operation."""

_KEPT = "an encrypted layer lies inside, and keeps its recipients"
_BARE = "an encrypted layer lies inside without a MIME header, and keeps its recipients"


@dataclass(frozen=True, slots=True)
class OpenedLayer:
    """A layer that was opened, and what its checkpoint takes."""

    content_digest: str
    outer_header: bytes
    inner: InnerEntity


@dataclass(slots=True)
class LayerSearch:
    """One search through all that is encrypted in one message beside its parts.

    Args:
        keys: the key history.
        released: content digests that a person takes although nothing proves them mail.
        selection: which parts are taken.
        reseals: whether layers inside are encrypted again with what is around them.
    """

    keys: KeyHistory
    released: frozenset[str]
    selection: smime.PartSelection
    reseals: bool
    records: list[LayerRecord] = field(default_factory=list)
    opened: list[OpenedLayer] = field(default_factory=list)
    in_history: set[RecipientKey] = field(default_factory=set)

    def keep(self, part: smime.EncryptedPart, reason: str) -> None:
        """A part of the message, whose plaintext is known, is left where it is."""
        self._record(part.path, "", part, reason)

    def look(self, plaintext: Content, content_type: str, part: str, reason: str = "") -> None:
        """Looks for layers in the plaintext of a part, and in theirs.

        Args:
            plaintext: of the part.
            content_type: of the plaintext, dotted.
            part: path of the part in the message.
            reason: why the part is left; empty where it is taken.
        """
        self._look(plaintext, content_type, (part, ""), 1, reason)

    def take(self, covered: smime.CoveredPart) -> None:
        """Opens a part that exists only decoded."""
        self._open(covered.content, covered.part, (covered.path, ""), 1, covered.reason)

    # --- deeper -----------------------------------------------------------------------

    def _look(
        self, plaintext: Content, content_type: str, place: tuple[str, str], depth: int, reason: str
    ) -> None:
        part, path = place
        prefix = f"{path}!" if path else ""
        try:
            inside = smime.look_inside(plaintext, content_type)
        except MessageError as error:
            inside = smime.Inside(problem=error.message)
        if inside.problem:
            what = f"what lies inside is not known: {inside.problem}"
            self._record(part, f"{prefix}?", None, reason or what)
        for one in inside.parts:
            why = reason or self.selection.why_left(one) or self._why_kept(one)
            self._open(plaintext, one, (part, f"{prefix}{smime.layer_path(one)}"), depth, why)
        for covered in inside.covered:
            why = reason or covered.reason
            place = part, f"{prefix}{covered.path}"
            self._open(covered.content, covered.part, place, depth, why)

    def _why_kept(self, part: smime.EncryptedPart) -> str:
        if not self.reseals:
            return _KEPT
        return "" if part.header.fields else _BARE

    def _open(
        self,
        content: Content,
        part: smime.EncryptedPart,
        place: tuple[str, str],
        depth: int,
        reason: str,
    ) -> None:
        if depth > DEEPEST or len(self.records) >= MOST:
            reason = f"more than {MOST} layers, or {DEEPEST} inside each other: it was not opened"
            self._record(*place, part, reason, content)
            return
        try:
            inner = open_part(content, part, self.keys, self.released)
            header = smime.outer_header(content, part)
        except MessageError as error:
            self._record(*place, part, f"a layer inside was not opened: {error.message}", content)
            return
        self._record(*place, part, reason, content)
        self.opened.append(OpenedLayer(part.envelope.digest, header, inner))
        self._look(smime.content_of(inner), inner.content_type, place, depth + 1, reason)

    def _record(
        self,
        part: str,
        path: str,
        layer: smime.EncryptedPart | None,
        reason: str,
        content: Content | None = None,
    ) -> None:
        envelope = layer.envelope if layer else None
        if layer and content:
            envelope = described(self.keys, content, layer)
        recipients = envelope.recipients if envelope else ()
        digest = layer.envelope.digest if layer else ""
        names = tuple(recipient_key(recipient) for recipient in recipients)
        self.records.append(LayerRecord(part, path, digest, names, reason))
        self.in_history.update(held(self.keys, recipients))


def recipient_key(recipient: cms.RecipientDescription) -> RecipientKey:
    """A recipient as reports name it."""
    return RecipientKey(recipient.issuer, recipient.serial_number, recipient.subject_key_identifier)


def described(
    keys: KeyHistory | None, content: Content, part: smime.EncryptedPart
) -> cms.EnvelopeDescription:
    """The envelope of a part, with all recipients whose keys a history holds."""
    return part.envelope if keys is None else smime.describe_for(content, part, keys.holds)


def held(
    keys: KeyHistory | None, recipients: tuple[cms.RecipientDescription, ...]
) -> frozenset[RecipientKey]:
    """Those of the recipients whose keys a history holds."""
    return frozenset(
        recipient_key(recipient)
        for recipient in recipients
        if recipient.identifier is not None and keys and keys.find(recipient.identifier)
    )
