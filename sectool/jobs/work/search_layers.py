"""Finds and opens the encrypted layers inside what was decrypted, down to a bound.

A layer that cannot be opened, or that stays as it is, costs its message
nothing else: what is around it is moved all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from itertools import chain

from sectool import cms, smime
from sectool.errors import MessageError
from sectool.joblog import NOT_KNOWN, LayerRecord
from sectool.jobs.work.open_with import open_part
from sectool.keys import HeldKey, KeyHistory, identifiers_of
from sectool.message import Content, InnerEntity
from sectool.outcome import ContentDigest, RecipientKey
from sectool.values import dataclass

DEEPEST = 6
"""Envelopes inside each other that are opened; a triple wrap in a forward has three."""

_KEPT = "an encrypted layer lies inside, and keeps its recipients"
_BARE = "an encrypted layer lies inside without a MIME header, and keeps its recipients"


@dataclass(frozen=True, slots=True)
class OpenedLayer:
    """A layer that was opened, and what its checkpoint takes."""

    content_digest: ContentDigest
    outer_header: bytes
    inner: InnerEntity
    place: tuple[str, str]
    """Path of the part it is in, and its own in the plaintext of that."""
    part: smime.EncryptedPart
    """As the inventory of that has it."""


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
    _records: dict[str, list[LayerRecord]] = field(default_factory=dict)
    """By the part they lie in."""
    opened: list[OpenedLayer] = field(default_factory=list)
    in_history: set[RecipientKey] = field(default_factory=set)

    @property
    def records(self) -> Iterator[LayerRecord]:
        """What is told of each layer, and of each part that is left."""
        return chain.from_iterable(self._records.values())

    def _add(self, record: LayerRecord) -> None:
        self._records.setdefault(record.part, []).append(record)

    def keep(self, part: smime.EncryptedPart, reason: str, *, opened: bool) -> None:
        """A part of the message is left where it is.

        Args:
            part: of the message.
            reason: why.
            opened: whether a key opens it, be it named or not.
        """
        self._record(part.path, "", part, reason, is_owners=opened)
        self._keep_inside((part.path, ""), reason)

    def note(self, path: str, reason: str, *, hides_recipients: bool) -> None:
        """Something in an entity of the message that may be encrypted cannot be looked into."""
        if all(one.path for one in self._records.get(path, ())):
            self._add(LayerRecord(path, "", NOT_KNOWN, (), reason, hides_recipients))

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

    def keeps(self, layer: OpenedLayer, reason: str) -> None:
        """A layer that opened keeps its recipients all the same, as does what lies in it."""
        self._keep_inside(layer.place, reason)

    def _keep_inside(self, place: tuple[str, str], reason: str) -> None:
        part, path = place
        prefix = f"{path}!" if path else ""
        self._records[part] = [
            replace(one, reason=one.reason or reason)
            if one.path == path or one.path.startswith(prefix)
            else one
            for one in self._records.get(part, ())
        ]

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
        for number, found in enumerate(inside.unreached, 1):
            names = tuple(one.key for one in found.recipients)
            hides = not found.is_complete
            record = LayerRecord(part, f"{prefix}?{number}", NOT_KNOWN, names, found.reason, hides)
            self._add(record)
            self.in_history.update(held(self.keys, found.recipients))
        if inside.problem and inside.problem not in {one.reason for one in inside.unreached}:
            what = f"what lies inside is not known: {inside.problem}"
            self._add(LayerRecord(part, f"{prefix}?", NOT_KNOWN, (), reason or what, True))
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
        if depth > DEEPEST:
            reason = f"more than {DEEPEST} layers lie inside each other: it was not opened"
            self._record(*place, part, reason, is_owners=True)
            return
        try:
            inner = open_part(part, self.keys, self.released)
            header = smime.outer_header(content, part)
        except MessageError as error:
            # Inside of what was encrypted to its owner it may be the owner's, too.
            why = f"a layer inside was not opened: {error.message}"
            self._record(*place, part, why, is_owners=bool(place[1]))
            return
        self._record(*place, part, reason, is_owners=True)
        self.opened.append(OpenedLayer(part.envelope.digest, header, inner, place, part))
        self._look(smime.content_of(inner), inner.content_type, place, depth + 1, reason)

    def _record(
        self,
        part: str,
        path: str,
        layer: smime.EncryptedPart,
        reason: str,
        *,
        is_owners: bool,
    ) -> None:
        recipients = described(self.keys, layer).recipients
        names = tuple(one.key for one in recipients)
        named = held(self.keys, recipients)
        # It needs a key, also where its recipients do not say which.
        hides = is_owners and not named
        self._add(LayerRecord(part, path, layer.envelope.digest, names, reason, hides))
        self.in_history.update(named)


def names_of_key(key: HeldKey) -> Iterator[RecipientKey]:
    """What a recipient may call a key."""
    for identifier in identifiers_of(key):
        kind = cms.RecipientKind.KEY_TRANSPORT
        yield cms.RecipientDescription(kind, identifier, "").key


def described(keys: KeyHistory | None, part: smime.EncryptedPart) -> cms.EnvelopeDescription:
    """The envelope of a part, with all recipients whose keys a history holds."""
    return part.envelope if keys is None else smime.describe_for(part, keys.holds)


def held(
    keys: KeyHistory | None, recipients: tuple[cms.RecipientDescription, ...]
) -> frozenset[RecipientKey]:
    """Those of the recipients whose keys a history holds."""
    return frozenset(
        recipient.key
        for recipient in recipients
        if recipient.identifier is not None and keys and keys.find(recipient.identifier)
    )
