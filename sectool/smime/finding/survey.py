"""Finds the encrypted parts of a message, by content and not by label (RFC 8551 section 3).

It looks into forwarded messages, signatures and encoded attachments, and into
what was decrypted; it opens no encryption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from sectool import cms
from sectool.cms.contents import has_more_behind, is_certificates_only
from sectool.errors import LimitExceeded, MalformedMessage, UnsupportedMessage
from sectool.message import Content
from sectool.mime.base64_text import AFTER_PADDING, STRAY_CHARACTERS
from sectool.mime.entities import FORWARDED, Entity, EntityWalker
from sectool.mime.header import CONTENT_FIELDS, header_in_memory
from sectool.mime.limits import Limits
from sectool.mime.lookahead import LOOK_AHEAD, is_message_ahead, may_begin_field
from sectool.mime.transfer_encoding import (
    HEAD_SIZE,
    Layer,
    find_layers,
    find_text_before,
    looks_like_cms,
)
from sectool.outcome import State
from sectool.smime.finding import recognition, tnef
from sectool.smime.finding.contents import drain, held, open_compressed, open_multipart, open_signed
from sectool.smime.finding.findings import Finding, Findings
from sectool.smime.finding.leftovers import Leftovers, beginning_of
from sectool.smime.finding.net import several_in
from sectool.smime.finding.surroundings import DetachedSignatures, ListFooters
from sectool.smime.finding.uuencode import holds_uuencoded_cms, is_uuencoding
from sectool.smime.parts import (
    BodySource,
    CoveredPart,
    EncryptedPart,
    NestedContent,
    Placement,
    Unreached,
)

_ENVELOPES = frozenset({cms.ENVELOPED_DATA, cms.AUTH_ENVELOPED_DATA})
_CLEAR_TYPES = frozenset({cms.ID_DATA, cms.DIGESTED_DATA, cms.AUTHENTICATED_DATA, cms.TST_INFO})
_KEY_BAGS = "1.2.840.113549.1.12."
"""What the object identifiers of PKCS#12 begin with."""
_OTHER_ENCRYPTION = frozenset({cms.ENCRYPTED_DATA, cms.SIGNED_AND_ENVELOPED_DATA})


_BEHIND_CMS = "bytes after the CMS were ignored"
_LABELLED_ONLY = "an attached file speaks of S/MIME and holds none"
_GOES_ON = frozenset({AFTER_PADDING, STRAY_CHARACTERS})
_SEVERAL = "several encrypted messages lie in one part, one behind the other; none is taken"
_TEXT_BEFORE = "text before the base64 was left as it is"
_UUENCODED = "an S/MIME message is uuencoded or in yEnc, which is not read"


_IN_ATTACHMENT = Finding(
    State.UNSUPPORTED, "an encrypted message lies in an encoded attachment; it is not taken"
)
_ENCODED = Finding(
    State.UNSUPPORTED, "an encrypted message lies in a multipart that is encoded; it is not taken"
)
UNDER_SIGNATURE = Finding(
    State.UNDER_SIGNATURE, "an encrypted layer lies under an opaque signature"
)
UNDER_COMPRESSION = Finding(
    State.UNSUPPORTED, "an encrypted layer lies inside a compression; it is not taken"
)


def survey(content: Content, limits: Limits, line_end: bytes) -> Findings:
    """Looks at every entity of a message.

    Args:
        content: the stored message.
        limits: bounds on hostile input.
        line_end: of the message's header, for the parts.

    Raises:
        LimitExceeded: a bound was reached.
    """
    return _Survey(content, limits, line_end, nesting=0).take()


def survey_inside(content: Content, limits: Limits, line_end: bytes) -> Findings:
    """Looks at every entity of what was encrypted, as ``survey`` does of a message.

    Raises:
        LimitExceeded: a bound was reached.
    """
    return _Survey(content, limits, line_end, nesting=1).take()


class _Survey:
    def __init__(
        self,
        content: Content,
        limits: Limits,
        line_end: bytes,
        *,
        nesting: int,
        is_file: bool = False,
    ) -> None:
        if nesting > limits.nested_contents:
            raise LimitExceeded(f"contents are nested more than {limits.nested_contents} deep")
        self._content = content
        self._limits = limits
        self._line_end = line_end
        self._nesting = nesting
        self._header = header_in_memory(content, limits)
        self._is_file = is_file
        """Whether it may be anything that begins as a message does."""
        self._findings = Findings()
        self._list_footers = ListFooters()
        self._detached_signatures = DetachedSignatures()
        self._leftovers = Leftovers(content, limits)

    def take(self) -> Findings:
        with self._content.open() as stream:
            walker = EntityWalker(stream, self._content.size, self._limits, self._header)
            for entity in walker.walk():
                self._list_footers.add(entity)
                self._detached_signatures.add(entity)
                self._look(entity)
        self._look_at_leftovers()
        recognised = self._list_footers.recognised()
        self._findings.parts = [self._among_others(one, recognised) for one in self._findings.parts]
        return self._findings

    def _among_others(self, part: EncryptedPart, recognised: frozenset[str]) -> EncryptedPart:
        if part.placement not in {Placement.WRAPPED, Placement.DOCUMENT}:
            return part
        if self._detached_signatures.is_beside(part.path):
            return replace(part, placement=Placement.BESIDE_SIGNATURE)
        return replace(part, placement=Placement.LIST_FOOTER) if part.path in recognised else part

    def _look(self, entity: Entity) -> None:
        self._findings.at = entity.path
        if reason := recognition.foreign_encryption(entity):
            self._findings.note(State.UNSUPPORTED, reason)
            if entity.is_multipart:
                return
        elif entity.is_multipart:
            if entity.media_type == "multipart/signed" and not entity.path:
                self._findings.is_signed = True
            return
        if reason := recognition.partial_reason(entity):
            self._findings.note_hidden(reason)
        elif self._look_at_leaf(entity):
            self._leftovers.leave_out(entity)
            return
        self._leftovers.add(entity)
        if _is_text(entity):
            self._look_at_text(entity)

    def _look_at_leaf(self, entity: Entity) -> bool:
        """Whether it is CMS, or a content of its own that was looked into."""
        head = beginning_of(entity)
        if entity.media_type in FORWARDED:
            self._look_into(entity, self._body(entity).open, _IN_ATTACHMENT)
        elif entity.main_type == "multipart" and entity.is_encoded:
            self._look_into(entity, partial(open_multipart, self._body(entity), entity), _ENCODED)
        elif entity.is_encoded and may_begin_field(head) and self._is_mail_file(entity):
            self._look_into(entity, self._declared(entity).open, _IN_ATTACHMENT, is_file=True)
        else:
            may_be_cms = looks_like_cms(entity.beginning) or looks_like_cms(head)
            is_candidate = recognition.is_candidate(entity) or may_be_cms
            return is_candidate and self._look_at_body(entity, may_be_cms=may_be_cms)
        return True

    def _declared(self, entity: Entity) -> BodySource:
        return BodySource(self._content, entity.header.body_start, entity.body_end, entity.layers)

    def _is_mail_file(self, entity: Entity) -> bool:
        with self._declared(entity).open() as stream:
            head = stream.read(LOOK_AHEAD)
        return is_message_ahead(head)

    def _look_at_leftovers(self) -> None:
        left = self._leftovers
        left.search()
        findings = self._findings
        for one in left.unreached:
            if one.sets_state:
                findings.note(State.UNSUPPORTED, one.reason)
        for reason in left.hidden:
            findings.note_hidden(reason)
        if left.pgp:
            findings.note(State.UNSUPPORTED, left.pgp)
        findings.unreached += left.unreached
        findings.noticed += left.noticed
        findings.uninspected += left.uninspected

    # --- bodies ---

    def _body(self, entity: Entity, encoding: str | None = None) -> BodySource:
        start = entity.header.body_start
        declared = entity.encoding if encoding is None else encoding
        layers = find_layers(self._content, start, entity.body_end, declared)
        return BodySource(self._content, start, entity.body_end, layers)

    def _look_at_body(self, entity: Entity, *, may_be_cms: bool) -> bool:
        """Whether it is CMS or TNEF, or said to be and damaged."""
        body = self._body(entity)
        head = body.beginning(HEAD_SIZE, is_needed=may_be_cms)
        if tnef.is_tnef(head):
            return self._look_at_tnef(body)
        try:
            content_type = cms.identify(head)
        except MalformedMessage as error:
            return self._look_behind_text(entity) or self._note_no_cms(entity, head, error)
        if not recognition.is_candidate(entity):
            # A text that is nothing but an envelope; what else it may be is a quotation.
            return content_type in _ENVELOPES and self._take_text(entity, body)
        takers = {
            cms.SIGNED_DATA: self._take_signed,
            cms.COMPRESSED_DATA: self._take_compressed,
            **dict.fromkeys(_ENVELOPES, self._take_envelope),
        }
        take = takers.get(content_type)
        return take(entity, body) if take else self._note_other(content_type)

    def _note_other(self, content_type: str) -> bool:
        """Whether CMS of that type is told; what is clear is looked through like any file."""
        if content_type in _CLEAR_TYPES or content_type.startswith(_KEY_BAGS):
            return False
        name = cms.content_type_name(content_type)
        if content_type == cms.ENCRYPTED_DATA:
            # It has no recipients.
            self._findings.note(State.UNSUPPORTED, f"CMS {name} is not supported")
        elif content_type in _OTHER_ENCRYPTION:
            self._findings.note_hidden(f"CMS {name} is not supported")
        else:
            # It may be an encryption that nobody here has heard of.
            self._findings.note_hidden(f"CMS {name} is not known")
        return True

    def _look_behind_text(self, entity: Entity) -> bool:
        """Whether CMS begins behind a text that a program put before it."""
        if not recognition.is_labelled(entity) or self._begins_as_base64(entity):
            return False
        start = entity.header.body_start
        count, layers = find_text_before(self._content, start, entity.body_end)
        if not count:
            return False
        body = BodySource(self._content, start + count, entity.body_end, layers)
        body.defects.add(_TEXT_BEFORE)
        with body.open() as stream:
            head = stream.read(HEAD_SIZE)
        try:
            is_envelope = cms.identify(head) in _ENVELOPES
        except MalformedMessage:
            return False
        if is_envelope:
            self._take_envelope(entity, body)
        return is_envelope

    def _begins_as_base64(self, entity: Entity) -> bool:
        """Whether what stands first is no text, once the body is said to be base64.

        A splice says so, and the CMS behind would not be found again.
        """
        with self._body(entity, Layer.BASE64).open() as stream:
            head = stream.read(HEAD_SIZE)
        try:
            cms.identify(head)
        except MalformedMessage:
            return tnef.is_tnef(head)
        return True

    def _take_text(self, entity: Entity, body: BodySource) -> bool:
        """Takes a text that is a whole envelope from its first character to its last."""
        try:
            envelope = cms.describe_envelope(body)
        except MalformedMessage:
            return False
        is_all = not body.defects & {STRAY_CHARACTERS, AFTER_PADDING, _BEHIND_CMS}
        if is_all and envelope.trailing_bytes <= len(b"\r\n"):
            self._take_envelope(entity, body)
            return True
        return False

    def _look_at_tnef(self, body: BodySource) -> bool:
        with body.open() as stream:
            found = tnef.find_smime(stream, self._limits)
        if found:
            self._findings.note_hidden(f"S/MIME in TNEF (winmail.dat) is not taken: {found}")
        return bool(found)

    def _note_no_cms(self, entity: Entity, head: bytes, error: MalformedMessage) -> bool:
        is_labelled = recognition.is_labelled(entity)
        is_uuencoded = is_uuencoding(entity.encoding)
        is_ours = is_labelled or recognition.is_named(entity)
        if holds_uuencoded_cms(head) or (is_uuencoded and is_ours):
            self._findings.note_hidden(_UUENCODED)
        elif is_labelled and (entity.oddity or self._is_file) and recognition.is_talk(head):
            self._findings.noticed.append(_LABELLED_ONLY)
        elif is_labelled:
            what = error.message if head else "the body is empty"
            self._findings.note_hidden(f"labelled as S/MIME, but {what}", State.MALFORMED)
        else:
            return False
        return not is_labelled

    def _take_envelope(self, entity: Entity, body: BodySource) -> bool:
        """True: whole or damaged, it is told."""
        try:
            envelope = cms.describe_envelope(body, holds_content=body.is_in_memory)
        except MalformedMessage as error:
            is_over_limit = isinstance(error, LimitExceeded)
            what = "beyond a limit" if is_over_limit else "damaged"
            reason = f"encrypted, but {what}: {error.message}"
            state = State.UNSUPPORTED if is_over_limit else State.MALFORMED
            self._findings.note(state, reason)
            seen = cms.read_recipients(body)
            self._findings.unreached.append(
                Unreached(
                    entity.path,
                    reason,
                    seen.recipients,
                    seen.is_complete,
                    is_over_limit=is_over_limit,
                )
            )
            return True
        behind = envelope.trailing_bytes > len(b"\r\n") or body.defects & _GOES_ON
        raw = BodySource(self._content, body.start, body.end, ())
        if behind and (several := several_in((raw.open, body.open), self._limits)):
            self._findings.note(State.UNSUPPORTED, _SEVERAL)
            self._findings.unreached += [
                Unreached(entity.path, _SEVERAL, seen.recipients, seen.is_complete)
                for seen in several
            ]
        else:
            self._findings.parts.append(self._part(entity, body, envelope))
        return True

    def _part(
        self,
        entity: Entity,
        body: BodySource,
        envelope: cms.EnvelopeDescription,
        signed: CoveredPart | None = None,
    ) -> EncryptedPart:
        return EncryptedPart(
            path=entity.path,
            placement=Placement.SEALED_OPAQUE if signed else recognition.placement_of(entity),
            header=entity.header,
            body_start=body.start,
            body_end=entity.body_end,
            is_last=entity.body_end >= self._content.size,
            line_end=self._line_end,
            source=signed.part.source if signed else body,
            defects=signed.part.defects if signed else _defects(body, envelope),
            envelope=envelope,
            signed=signed,
        )

    def _take_signed(self, entity: Entity, body: BodySource) -> bool:
        """Whether what is signed was looked into, or is told to be damaged."""
        try:
            with body.open() as stream:
                if is_certificates_only(stream):
                    return False
            opener = partial(open_signed, body)
            if entity.is_message:
                drain(opener)
            self._findings.is_signed |= not entity.path
            if has_more_behind(body):
                self._leftovers.add(entity)
            self._look_into(entity, opener, UNDER_SIGNATURE, signed=body)
        except LimitExceeded:
            raise
        except MalformedMessage as error:
            # Elsewhere it is an attachment, signed as a document is.
            if not entity.is_message:
                return False
            reason = f"signed, but damaged: {error.message}"
            self._findings.note_hidden(reason, State.MALFORMED)
        return True

    def _take_compressed(self, entity: Entity, body: BodySource) -> bool:
        """Whether what is compressed was looked into, or is told why not."""
        opener = partial(open_compressed, body)
        try:
            if entity.is_message:
                drain(opener)
            if has_more_behind(body):
                self._leftovers.add(entity)
            self._look_into(entity, opener, UNDER_COMPRESSION)
        except LimitExceeded:
            raise
        except UnsupportedMessage as error:
            self._findings.note_hidden(error.message)
        except MalformedMessage as error:
            # Elsewhere it is an attachment like any other.
            if not entity.is_message:
                return False
            reason = f"compressed, but damaged: {error.message}"
            self._findings.note_hidden(reason, State.MALFORMED)
        return True

    # --- contents inside ---

    def _look_into(
        self,
        entity: Entity,
        opener: Callable[[], BinaryIO],
        cover: Finding,
        *,
        signed: BodySource | None = None,
        is_file: bool = False,
    ) -> None:
        """Looks at a content that exists only decoded; ``cover`` is what to say of it.

        An envelope that is all that an opaque signature covers can stand in its place.
        """
        content = held(NestedContent(opener), self._limits.held_content)
        nested = _Survey(
            content,
            self._limits,
            self._line_end,
            nesting=self._nesting + 1,
            is_file=is_file or self._is_file,
        ).take()
        if signed is not None and _is_whole_content(entity, nested):
            (part,) = nested.parts
            inside = CoveredPart(f"{entity.path}~", content, part, cover.reason)
            self._findings.parts.append(self._part(entity, signed, part.envelope, inside))
            return
        self._findings.others += [cover] if nested.parts else []
        self._findings.others += nested.others
        prefix = f"{entity.path}~"
        self._findings.unreached += [
            replace(one, path=f"{prefix}{one.path}") for one in nested.unreached
        ]
        self._findings.noticed += nested.noticed
        self._findings.uninspected += nested.uninspected
        self._findings.covered += [
            CoveredPart(f"{prefix}{part.path}", content, part, cover.reason)
            for part in nested.parts
        ]
        self._findings.covered += [
            replace(covered, path=f"{prefix}{covered.path}") for covered in nested.covered
        ]

    def _look_at_text(self, entity: Entity) -> None:
        start = entity.header.body_start
        end = min(entity.body_end, start + self._limits.armour_search)
        layers = entity.layers
        with BodySource(self._content, start, end, layers).open() as stream:
            text = stream.read(self._limits.armour_search)
        if not self._nesting and recognition.holds_pgp_message(text):
            self._findings.note(State.UNSUPPORTED, "inline PGP: only S/MIME is opened")
        if holds_uuencoded_cms(text):
            self._findings.note_hidden(_UUENCODED)


def _is_text(entity: Entity) -> bool:
    if entity.is_multipart:
        return False
    return entity.content_type is None or entity.content_type.main_type == "text"


def _defects(body: BodySource, envelope: cms.EnvelopeDescription) -> tuple[str, ...]:
    # A line end behind plain bytes is nothing to tell.
    behind = {_BEHIND_CMS} if envelope.trailing_bytes > len(b"\r\n") else set[str]()
    return tuple(sorted(body.defects | behind))


def _is_whole_content(entity: Entity, nested: Findings) -> bool:
    """Whether one envelope, and nothing else, is what an opaque signature covers."""
    if entity.is_signed or len(nested.parts) != 1:
        return False
    (part,) = nested.parts
    fields = {field.name for field in part.header.fields}
    is_bare = (
        not part.path
        and part.body_start == part.header.body_start
        and fields <= CONTENT_FIELDS | {b"mime-version"}
    )
    return is_bare and not (nested.others or nested.covered or nested.unreached)
