"""What an envelope says of itself: its recipients, its algorithm and the digest of its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from sectool.asn1 import tags
from sectool.cms import oids
from sectool.cms.envelope import (
    ENCRYPTED_CONTENT_INFO,
    WITH_RECIPIENTS,
    Envelope,
    enter_content_info,
    read_envelope,
    read_originator_info,
)
from sectool.cms.identifiers import recipient_of
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import (
    RecipientFilter,
    RecipientInfo,
    RecipientKind,
    TableMaker,
    read_recipient_infos,
)
from sectool.cms.seams import (
    RecipientIdentifier,
    Source,
)
from sectool.cms.usual_form import read_usual_envelope
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.outcome import ContentDigest, RecipientKey
from sectool.values import dataclass

_UNNAMED = RecipientKey("", "", "")


@dataclass(frozen=True, slots=True)
class RecipientDescription:
    """One recipient of an envelope, as a report names it."""

    kind: RecipientKind
    identifier: RecipientIdentifier | None
    """None where the recipient is not named by a certificate."""
    key_encryption_algorithm: str
    """Lower-case name, or the dotted identifier; empty where the kind is unknown."""

    @property
    def key(self) -> RecipientKey:
        """As reports and the job log name it; empty where no certificate names it."""
        return _UNNAMED if self.identifier is None else recipient_of(self.identifier)


@dataclass(frozen=True, slots=True)
class EnvelopeDescription:
    """What can be said of an envelope without a key."""

    content_type: str
    """Of the outer ContentInfo, dotted."""
    recipients: tuple[RecipientDescription, ...]
    """Those that are kept, in the order of the message: the first of them, and all that were
    asked for. A key agreement gives one for each key it names."""
    content_encryption_algorithm: str
    """Lower-case name such as ``aes-256-cbc``, or the dotted identifier."""
    encrypted_content_type: str
    """Dotted."""
    encrypted_content_size: int | None
    """Bytes; None: the content is absent (detached)."""
    digest: ContentDigest
    """SHA-256 of the outer element exactly as encoded: the content digest."""
    size: int
    """Bytes of the outer element as encoded."""
    trailing_bytes: int
    """Bytes of the source after it."""
    recipients_total: int
    """Recipients there are, kept or not."""
    recipients_complete: bool
    """Whether all that were asked for are among ``recipients``; all there are, where nothing
    was asked for. Where it is not, nothing may be concluded from a name that is not there."""
    envelope: Envelope = field(repr=False, compare=False)
    """As it was read, to be opened."""


IdentifierFilter = Callable[[RecipientIdentifier], bool]
"""Whether a recipient of that name is asked for."""


def describe_envelope(
    source: Source,
    limits: Limits = DEFAULT_LIMITS,
    *,
    wanted: IdentifierFilter | None = None,
    holds_content: bool = False,
) -> EnvelopeDescription:
    """Walks a CMS envelope once, whatever its algorithms.

    Args:
        source: the CMS.
        limits: bounds on hostile input.
        wanted: which recipients are kept whatever their place among others.
        holds_content: as in ``read_envelope``; for a source that lies in memory itself, since
            of a large message every part would be held.

    Raises:
        MalformedMessage: it is not a whole EnvelopedData or AuthEnvelopedData.
        LimitExceeded: a bound was reached.
    """
    by_identifier = _by_identifier(wanted)
    with source.open() as stream:
        usual = read_usual_envelope(stream.read(), limits) if holds_content else None
    if usual is not None:
        return describe(usual)
    with source.open() as stream:
        return describe(
            read_envelope(stream, limits, wanted=by_identifier, holds_content=holds_content)
        )


def _by_identifier(wanted: IdentifierFilter | None) -> RecipientFilter | None:
    if wanted is None:
        return None
    return lambda info: info.identifier is not None and wanted(info.identifier)


@dataclass(frozen=True, slots=True)
class RecipientsSeen:
    """The recipients of what may be no whole envelope, as far as they can be read."""

    content_type: str
    """Of the ContentInfo, dotted; empty where none begins here."""
    is_envelope: bool
    """Whether its structure was followed as far as RecipientInfos go, or should."""
    recipients: tuple[RecipientDescription, ...]
    """Those that are kept, as in ``EnvelopeDescription``."""
    is_complete: bool
    """Whether the RecipientInfos were read to their end, and all that were asked for are kept;
    all there are, where nothing was asked for."""


def read_recipients(
    source: Source, limits: Limits = DEFAULT_LIMITS, *, wanted: IdentifierFilter | None = None
) -> RecipientsSeen:
    """Names the recipients of an envelope that may be damaged, cut off or over a limit.

    Args:
        source: what may be a CMS.
        limits: bounds on hostile input.
        wanted: which recipients are kept whatever their place among others.

    EncryptedData is an envelope here that has no recipients (RFC 5652 section 8), and
    SignedAndEnvelopedData (RFC 2315 section 11) one like others.
    """
    content_type = ""
    is_envelope = is_complete = False
    maker = TableMaker(limits, _by_identifier(wanted))
    with source.open() as stream:
        reader = CMSReader(stream, limits)
        try:
            content_type = enter_content_info(reader)
            if content_type in WITH_RECIPIENTS or content_type == oids.ENCRYPTED_DATA:
                reader.enter(tags.context(0), "the content of the ContentInfo")
                reader.enter(tags.SEQUENCE, "the envelope")
                reader.read_integer("version")
                is_envelope = True
            if content_type == oids.ENCRYPTED_DATA:
                is_complete = True
            elif is_envelope:
                originator_info = read_originator_info(reader)
                # What was read before the damage stays.
                for recipient_info in read_recipient_infos(reader, originator_info):
                    maker.add(recipient_info)
                is_complete = True
        except (MalformedMessage, LimitExceeded):
            pass
    table = maker.table()
    recipients = tuple(map(_describe_recipient, table.kept))
    return RecipientsSeen(content_type, is_envelope, recipients, is_complete and table.is_complete)


def goes_on_behind_recipients(source: Source, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Whether something encrypted follows RecipientInfos of which perhaps none can be read.

    EncryptedData (RFC 5652 section 8) has none, so that it follows at once.

    Args:
        source: what begins as an envelope does.
        limits: bounds on hostile input; the sizes of what is passed over have none.
    """
    with source.open() as stream:
        reader = CMSReader(stream, limits)
        try:
            content_type = enter_content_info(reader)
            reader.enter(tags.context(0), "the content of the ContentInfo")
            reader.enter(tags.SEQUENCE, "the envelope")
            reader.read_integer("version")
            if content_type in WITH_RECIPIENTS:
                if reader.at(tags.context(0)):
                    reader.skip("originatorInfo")
                reader.skip("recipientInfos")
            if content_type == oids.SIGNED_AND_ENVELOPED_DATA:
                reader.skip("digestAlgorithms")
            reader.enter(tags.SEQUENCE, ENCRYPTED_CONTENT_INFO)
            is_typed = reader.at(tags.OBJECT_IDENTIFIER)
            reader.skip("the type of the encrypted content")
            has_algorithm = reader.at(tags.SEQUENCE)
            reader.skip("contentEncryptionAlgorithm")
            return is_typed and has_algorithm and (not reader.peek() or reader.at(tags.context(0)))
        except MalformedMessage:
            return False


def describe(envelope: Envelope) -> EnvelopeDescription:
    """The description of an envelope that was read."""
    return EnvelopeDescription(
        content_type=envelope.content_type,
        recipients=tuple(map(_describe_recipient, envelope.recipients.kept)),
        content_encryption_algorithm=oids.content_encryption_name(
            envelope.content_encryption_algorithm.oid
        ),
        encrypted_content_type=envelope.encrypted_content_type,
        encrypted_content_size=envelope.encrypted_content_size,
        digest=envelope.digest,
        size=envelope.size,
        trailing_bytes=envelope.trailing_bytes,
        recipients_total=envelope.recipients.total,
        recipients_complete=envelope.recipients.is_complete,
        envelope=envelope,
    )


def _describe_recipient(recipient_info: RecipientInfo) -> RecipientDescription:
    algorithm = recipient_info.algorithm
    name = oids.key_encryption_name(algorithm.oid) if algorithm else ""
    return RecipientDescription(recipient_info.kind, recipient_info.identifier, name)
