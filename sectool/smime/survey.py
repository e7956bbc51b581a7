"""Finds the encrypted parts of a message, by content and not by label (RFC 8551 section 3).

It looks into forwarded messages, signatures and encoded attachments, and into
what was decrypted; it opens no encryption.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO

from sectool import cms
from sectool.errors import LimitExceeded, MalformedMessage, UnsupportedMessage
from sectool.message import Content
from sectool.outcome import State
from sectool.smime import recognition, tnef
from sectool.smime.compressed_data import UnpackingBudget, decompressed_blocks
from sectool.smime.detached_signatures import DetachedSignatures
from sectool.smime.entities import FORWARDED, Entity, EntityWalker
from sectool.smime.fields import CONTENT_FIELDS
from sectool.smime.limits import Limits
from sectool.smime.list_footer import ListFooters
from sectool.smime.parts import (
    BodySource,
    CoveredPart,
    EncryptedPart,
    NestedContent,
    Placement,
    Unreached,
)
from sectool.smime.signed_data import is_certificates_only, signed_blocks
from sectool.smime.transfer import BLOCK, HEAD_SIZE, declared_layers, find_layers, stream_of
from sectool.smime.uuencode import holds_uuencoded_cms, is_uuencoding

_ENVELOPES = frozenset({cms.ENVELOPED_DATA, cms.AUTH_ENVELOPED_DATA})
_CLEAR_TYPES = frozenset({cms.ID_DATA, cms.DIGESTED_DATA, cms.AUTHENTICATED_DATA, cms.TST_INFO})
_OTHER_ENCRYPTION = frozenset({cms.ENCRYPTED_DATA, cms.SIGNED_AND_ENVELOPED_DATA})


_BEHIND_CMS = "bytes after the CMS were ignored"
_UUENCODED = "an S/MIME message is uuencoded, which is not read"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that decides on the state of a message."""

    state: State
    reason: str
    hides_recipients: bool = False
    """Whether S/MIME is, or may be, in it whose recipients nobody could read."""
    path: str | None = None
    """Section of the entity that it is of; None: it is told otherwise what lies there."""


_IN_ATTACHMENT = Finding(
    State.UNSUPPORTED, "an encrypted message lies in an encoded attachment; it is not taken"
)
UNDER_SIGNATURE = Finding(State.SEALED, "an encrypted layer lies under an opaque signature")
UNDER_COMPRESSION = Finding(
    State.UNSUPPORTED, "an encrypted layer lies inside a compression; it is not taken"
)


@dataclass(slots=True)
class Findings:
    """What a survey found, in the order of the message."""

    parts: list[EncryptedPart] = field(default_factory=list)
    covered: list[CoveredPart] = field(default_factory=list)
    """Encrypted parts in contents that exist only decoded."""
    others: list[Finding] = field(default_factory=list)
    """All that is neither clear nor one of ``parts``."""
    unreached: list[Unreached] = field(default_factory=list)
    """Envelopes that are counted and never taken."""
    is_signed: bool = False
    """Whether the message as a whole is signed."""
    at: str = ""
    """Section of the entity that is looked at."""

    @property
    def hidden(self) -> str:
        """Why there may be recipients that could not be read; empty where there are none."""
        return next((finding.reason for finding in self.others if finding.hides_recipients), "")

    def note(self, state: State, reason: str) -> None:
        """Adds a finding."""
        self.others.append(Finding(state, reason, path=self.at))

    def note_hidden(self, reason: str, state: State = State.UNSUPPORTED) -> None:
        """Adds S/MIME whose recipients cannot be read."""
        finding = Finding(state, reason, hides_recipients=True, path=self.at)
        self.others.append(finding)


def survey(content: Content, limits: Limits, line_end: bytes) -> Findings:
    """Looks at every entity of a message.

    Args:
        content: the stored message.
        limits: bounds on hostile input.
        line_end: of the message's header, for the parts.

    Raises:
        LimitExceeded: a bound was reached.
    """
    budget = UnpackingBudget(limits.decompressed_size)
    return _Survey(content, limits, line_end, nesting=0, budget=budget).take()


def survey_inside(content: Content, limits: Limits, line_end: bytes) -> Findings:
    """Looks at every entity of what was encrypted, as ``survey`` does of a message.

    Raises:
        LimitExceeded: a bound was reached.
    """
    with content.open() as stream:
        if stream.seekable():
            # Its bodies can be read without reading all before them.
            limits = replace(limits, nested_bodies=limits.entities)
    budget = UnpackingBudget(limits.decompressed_size)
    return _Survey(content, limits, line_end, nesting=1, budget=budget).take()


class _Survey:
    def __init__(
        self,
        content: Content,
        limits: Limits,
        line_end: bytes,
        *,
        nesting: int,
        budget: UnpackingBudget,
    ) -> None:
        if nesting > limits.nested_contents:
            raise LimitExceeded(f"contents are nested more than {limits.nested_contents} deep")
        self._content = content
        self._limits = limits
        self._line_end = line_end
        self._nesting = nesting
        self._budget = budget
        self._bodies = 0
        self._findings = Findings()
        self._list_footers = ListFooters()
        self._detached_signatures = DetachedSignatures()

    def take(self) -> Findings:
        with self._content.open() as stream:
            walker = EntityWalker(stream, self._content.size, self._limits)
            for entity in walker.walk():
                self._list_footers.add(entity)
                self._detached_signatures.add(entity)
                self._look(entity)
        recognised = self._list_footers.recognised()
        self._findings.parts = [
            replace(part, placement=self._placement_among_others(part, recognised))
            for part in self._findings.parts
        ]
        return self._findings

    def _placement_among_others(self, part: EncryptedPart, recognised: frozenset[str]) -> Placement:
        if part.placement not in {Placement.WRAPPED, Placement.DOCUMENT}:
            return part.placement
        if self._detached_signatures.is_beside(part.path):
            return Placement.BESIDE_SIGNATURE
        return Placement.LIST_FOOTER if part.path in recognised else part.placement

    def _look(self, entity: Entity) -> None:
        self._findings.at = entity.path
        if reason := recognition.pgp_reason(entity):
            self._findings.note(State.UNSUPPORTED, reason)
        elif entity.is_multipart:
            if entity.media_type == "multipart/signed" and not entity.path:
                self._findings.is_signed = True
        elif entity.media_type in FORWARDED:
            self._look_into(entity, self._body(entity).open, _IN_ATTACHMENT)
        elif recognition.is_candidate(entity):
            self._look_at_body(entity)
        if _is_text(entity) and not self._nesting:
            self._look_at_text(entity)

    # --- bodies ---

    def _body(self, entity: Entity) -> BodySource:
        self._bodies += 1
        if self._nesting and self._bodies > self._limits.nested_bodies:
            raise LimitExceeded(
                f"a content inside has more than {self._limits.nested_bodies} bodies to look at"
            )
        start = entity.header.body_start
        declared = _declared_encoding(entity)
        layers = find_layers(self._content, start, entity.body_end, declared)
        return BodySource(self._content, start, entity.body_end, layers)

    def _look_at_body(self, entity: Entity) -> None:
        body = self._body(entity)
        with body.open() as stream:
            head = stream.read(HEAD_SIZE)
        if tnef.is_tnef(head):
            self._look_at_tnef(body)
            return
        try:
            content_type = cms.identify(io.BytesIO(head))
        except MalformedMessage as error:
            self._note_no_cms(entity, head, error)
            return
        if content_type in _ENVELOPES:
            self._take_envelope(entity, body)
        elif content_type in _OTHER_ENCRYPTION:
            reason = f"CMS {cms.content_type_name(content_type)} is not supported"
            if content_type == cms.ENCRYPTED_DATA:
                self._findings.note(State.UNSUPPORTED, reason)  # it has no recipients
            else:
                self._findings.note_hidden(reason)
        elif content_type == cms.SIGNED_DATA:
            self._take_signed(entity, body, head)
        elif content_type == cms.COMPRESSED_DATA:
            self._take_compressed(entity, body)
        elif content_type not in _CLEAR_TYPES:
            # It may be an encryption that nobody here has heard of.
            name = cms.content_type_name(content_type)
            self._findings.note_hidden(f"CMS {name} is not known")

    def _look_at_tnef(self, body: BodySource) -> None:
        with body.open() as stream:
            found = tnef.find_smime(stream, self._limits)
        if found:
            self._findings.note_hidden(f"S/MIME in TNEF (winmail.dat) is not taken: {found}")

    def _note_no_cms(self, entity: Entity, head: bytes, error: MalformedMessage) -> None:
        is_labelled = recognition.is_labelled(entity)
        is_uuencoded = is_uuencoding(_declared_encoding(entity))
        is_ours = is_labelled or recognition.is_named(entity)
        if holds_uuencoded_cms(head) or (is_uuencoded and is_ours):
            self._findings.note_hidden(_UUENCODED)
        elif is_labelled:
            what = error.message if head else "the body is empty"
            self._findings.note_hidden(f"labelled as S/MIME, but {what}", State.MALFORMED)

    def _take_envelope(self, entity: Entity, body: BodySource) -> None:
        try:
            envelope = cms.describe_envelope(body)
        except MalformedMessage as error:
            reason = f"encrypted, but damaged: {error.message}"
            self._findings.note(State.MALFORMED, reason)
            seen = cms.read_recipients(body)
            self._findings.unreached.append(
                Unreached(
                    entity.path,
                    reason,
                    seen.recipients,
                    seen.is_complete,
                    is_over_limit=isinstance(error, LimitExceeded),
                )
            )
            return
        self._findings.parts.append(self._part(entity, body, envelope))

    def _part(
        self,
        entity: Entity,
        body: BodySource,
        envelope: cms.EnvelopeDescription,
        signed: CoveredPart | None = None,
    ) -> EncryptedPart:
        return EncryptedPart(
            path=entity.path,
            placement=Placement.SEALED_OPAQUE if signed else _placement(entity),
            header=entity.header,
            body_start=entity.header.body_start,
            body_end=entity.body_end,
            is_last=entity.body_end >= self._content.size,
            line_end=self._line_end,
            layers=body.layers,
            defects=signed.part.defects if signed else _defects(body, envelope),
            envelope=envelope,
            signed=signed,
        )

    def _take_signed(self, entity: Entity, body: BodySource, head: bytes) -> None:
        try:
            if is_certificates_only(io.BytesIO(head)):
                return
            opener = partial(_open_signed, body)
            if entity.is_message:
                _drain(opener)
            self._findings.is_signed |= not entity.path
            self._look_into(entity, opener, UNDER_SIGNATURE, signed=body)
        except LimitExceeded:
            raise
        except MalformedMessage as error:
            # Elsewhere it is an attachment, signed as a document is.
            if entity.is_message:
                reason = f"signed, but damaged: {error.message}"
                self._findings.note_hidden(reason, State.MALFORMED)

    def _take_compressed(self, entity: Entity, body: BodySource) -> None:
        opener = partial(_open_compressed, body, self._budget)
        try:
            if entity.is_message:
                _drain(opener)
            self._look_into(entity, opener, UNDER_COMPRESSION)
        except LimitExceeded:
            raise
        except UnsupportedMessage as error:
            self._findings.note_hidden(error.message)
        except MalformedMessage as error:
            # Elsewhere it is an attachment like any other.
            if entity.is_message:
                reason = f"compressed, but damaged: {error.message}"
                self._findings.note_hidden(reason, State.MALFORMED)

    # --- contents inside ---

    def _look_into(
        self,
        entity: Entity,
        opener: Callable[[], BinaryIO],
        cover: Finding,
        signed: BodySource | None = None,
    ) -> None:
        """Looks at a content that exists only decoded; ``cover`` is what to say of it.

        An envelope that is all that an opaque signature covers can stand in its place.
        """
        content = NestedContent(opener)
        nested = _Survey(
            content,
            self._limits,
            self._line_end,
            nesting=self._nesting + 1,
            budget=self._budget,
        ).take()
        if signed is not None and _is_whole_content(entity, nested):
            (part,) = nested.parts
            inside = CoveredPart(f"{entity.path}~", content, part, cover.reason)
            self._findings.parts.append(self._part(entity, signed, part.envelope, inside))
            return
        self._findings.others += [cover] if nested.parts else []
        self._findings.others += nested.others
        prefix = f"{entity.path}~"
        self._findings.covered += [
            CoveredPart(f"{prefix}{part.path}", content, part, cover.reason)
            for part in nested.parts
        ]
        self._findings.covered += [
            replace(covered, path=f"{prefix}{covered.path}") for covered in nested.covered
        ]
        self._findings.unreached += [
            replace(one, path=f"{prefix}{one.path}") for one in nested.unreached
        ]

    def _look_at_text(self, entity: Entity) -> None:
        start = entity.header.body_start
        end = min(entity.body_end, start + self._limits.armour_search)
        layers = declared_layers(_declared_encoding(entity))
        with BodySource(self._content, start, end, layers).open() as stream:
            text = stream.read(self._limits.armour_search)
        if recognition.holds_pgp_message(text):
            self._findings.note(State.UNSUPPORTED, "inline PGP: only S/MIME is opened")
        if holds_uuencoded_cms(text):
            self._findings.note_hidden(_UUENCODED)


def _declared_encoding(entity: Entity) -> str:
    value = entity.header.first(b"content-transfer-encoding") or b""
    return value.decode("latin-1")


def _is_text(entity: Entity) -> bool:
    if entity.is_multipart:
        return False
    return entity.content_type is None or entity.content_type.main_type == "text"


def _defects(body: BodySource, envelope: cms.EnvelopeDescription) -> tuple[str, ...]:
    # A line end behind plain bytes is nothing to tell.
    behind = {_BEHIND_CMS} if envelope.trailing_bytes > len(b"\r\n") else set[str]()
    return tuple(sorted(body.defects | behind))


def _placement(entity: Entity) -> Placement:
    if entity.is_signed:
        is_body = entity.is_message or entity.is_signed_body
        return Placement.SEALED if is_body else Placement.SEALED_AMONG_OTHERS
    if not entity.is_message:
        return Placement.DOCUMENT if recognition.is_document(entity) else Placement.WRAPPED
    return Placement.FORWARDED if entity.path else Placement.ROOT


def _is_whole_content(entity: Entity, nested: Findings) -> bool:
    """Whether one envelope, and nothing else, is what an opaque signature covers."""
    if entity.is_signed or len(nested.parts) != 1:
        return False
    (part,) = nested.parts
    fields = {field.name for field in part.header.fields}
    is_bare = not part.path and fields <= CONTENT_FIELDS | {b"mime-version"}
    return is_bare and not (nested.others or nested.covered or nested.unreached)


def _drain(opener: Callable[[], BinaryIO]) -> None:
    """Reads a content to its end, which says whether it is whole."""
    with opener() as stream:
        while stream.read(BLOCK):
            pass


def _open_signed(body: BodySource) -> BinaryIO:
    stream = body.open()
    return stream_of(stream, signed_blocks(stream))


def _open_compressed(body: BodySource, budget: UnpackingBudget) -> BinaryIO:
    stream = body.open()
    return stream_of(stream, decompressed_blocks(stream, budget))
