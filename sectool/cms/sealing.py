"""Seals content for new recipients, and proves the result (RFC 5652, 5083, 5084, 4055).

DER with definite lengths, streamed: the size of the content is known before.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import field

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.algorithms import CONTENT_ENCRYPTION
from sectool.cms.ciphers import ContentEncryption, SealingCipher
from sectool.cms.envelope import Envelope, read_envelope
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.opening import SealedEnvelope
from sectool.cms.profiles import PROFILES, Profile, Recipient, distinct
from sectool.cms.recipients import RecipientInfo
from sectool.cms.seams import DISCARD, HashingSink, IssuerAndSerialNumber, SizedSource, Source
from sectool.errors import MalformedMessage, MessageChanged
from sectool.message import Sink
from sectool.values import dataclass

_BLOCK = 128 * 1024
_TAG_SIZE = 16
_SEQUENCE = tags.SEQUENCE | tags.CONSTRUCTED


@dataclass(frozen=True, slots=True)
class Sealed:
    """A CMS that was written."""

    digest: str
    """SHA-256 of the CMS, lower-case hexadecimal: the content digest."""
    size: int
    """Bytes of the CMS."""
    content_sha256: str
    """Of the plaintext, lower-case hexadecimal."""
    content_size: int
    """Bytes of plaintext."""
    content_encryption_key: bytes = field(repr=False)
    """For ``check_sealed``; it must not be stored."""


@dataclass(frozen=True, slots=True)
class CheckedEnvelope:
    """What the structural proof found."""

    digest: str
    """SHA-256 of the CMS, lower-case hexadecimal: the content digest."""
    content_sha256: str
    """Of the plaintext, lower-case hexadecimal."""
    content_size: int
    """Bytes of plaintext."""
    content_type: str
    """Of the encrypted content, dotted."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """All of a CMS that stands around its encrypted content."""

    head: bytes
    """Everything before the encrypted content."""
    encrypted_size: int
    tail_size: int
    """Bytes of the authentication tag as encoded; zero: the profile writes none."""

    @property
    def size(self) -> int:
        return len(self.head) + self.encrypted_size + self.tail_size


def seal_envelope(
    source: SizedSource,
    sink: Sink,
    recipients: Sequence[Recipient],
    *,
    profile: Profile = Profile.COMPATIBLE,
    content_type: str = oids.ID_DATA,
) -> Sealed:
    """Encrypts content to recipients, with a fresh key and initialization vector.

    Args:
        source: the content, read once.
        sink: takes the CMS; discard it when this raises.
        recipients: at least one; a certificate given twice counts once.
        profile: what is written.
        content_type: of the content, dotted, as it was found in the envelope opened.

    Raises:
        CertificateUnusable: a recipient cannot serve under the profile.
        MessageChanged: the source is longer or shorter than its ``size``.
        LimitExceeded: the content is longer than the algorithm allows (GCM: 64 GB).
        ValueError: there is no recipient, or ``content_type`` is not dotted.
    """
    sealer = Sealer(sink, source.size, recipients, profile=profile, content_type=content_type)
    with source.open() as stream:
        while block := stream.read(_BLOCK):
            sealer.write(block)
    return sealer.finish()


class Sealer:
    """A sink that encrypts what is written to it; ``seal_envelope`` for content that is pushed.

    Args:
        sink: takes the CMS; discard it unless ``finish`` returns.
        content_size: bytes that will be written.
        recipients: at least one; a certificate given twice counts once.
        profile: what is written.
        content_type: of the content, dotted.

    Raises:
        CertificateUnusable, LimitExceeded, ValueError: as ``seal_envelope``.
    """

    def __init__(
        self,
        sink: Sink,
        content_size: int,
        recipients: Sequence[Recipient],
        *,
        profile: Profile = Profile.COMPATIBLE,
        content_type: str = oids.ID_DATA,
    ) -> None:
        cipher = _new_cipher(profile)
        self._key = secrets.token_bytes(_row(profile).key_sizes[0])
        infos = wrap_for(recipients, profile, self._key)
        head = der.integer(envelope_version(recipients, profile)) + der.set_of(infos)
        self._plan = _plan(head, cipher, content_size, profile, content_type)
        self._expected = content_size
        self._encryptor = cipher.encryptor(self._key)
        self._content = HashingSink(DISCARD)
        self._output = HashingSink(sink)
        self._output.write(self._plan.head)

    def write(self, data: bytes, /) -> None:
        """Takes the next bytes of the content.

        Raises:
            MessageChanged: the content is longer than it was said to be.
        """
        self._content.write(data)
        if self._content.size > self._expected:
            raise self._changed()
        self._output.write(self._encryptor.update(data))

    def finish(self) -> Sealed:
        """Writes what follows the content.

        Raises:
            MessageChanged: the content is shorter than it was said to be.
        """
        if self._content.size != self._expected:
            raise self._changed()
        self._output.write(self._encryptor.finalize())
        if self._plan.tail_size:
            self._output.write(der.octet_string(self._encryptor.tag))
        assert self._output.size == self._plan.size
        return Sealed(
            digest=self._output.digest(),
            size=self._output.size,
            content_sha256=self._content.digest(),
            content_size=self._content.size,
            content_encryption_key=self._key,
        )

    def _changed(self) -> MessageChanged:
        read = self._content.size
        return MessageChanged(
            f"the content should have {self._expected} bytes, but {read} were read"
        )


def sealed_size(
    content_size: int,
    recipients: Sequence[Recipient],
    *,
    profile: Profile = Profile.COMPATIBLE,
    content_type: str = oids.ID_DATA,
) -> int:
    """Bytes of the CMS that ``seal_envelope`` writes for so many bytes of content.

    Raises:
        CertificateUnusable: a recipient cannot serve under the profile.
    """
    # The size of a RecipientInfo does not depend on what the key is.
    infos = wrap_for(recipients, profile, bytes(_row(profile).key_sizes[0]))
    head = der.integer(envelope_version(recipients, profile)) + der.set_of(infos)
    return _plan(head, _new_cipher(profile), content_size, profile, content_type).size


def _row(profile: Profile) -> ContentEncryption:
    return CONTENT_ENCRYPTION[PROFILES[profile].content_encryption]


def _new_cipher(profile: Profile) -> SealingCipher:
    row = _row(profile)
    assert row.new is not None
    return row.new(row)


def wrap_for(
    recipients: Sequence[Recipient], profile: Profile, content_encryption_key: bytes
) -> list[bytes]:
    """The RecipientInfos, each certificate once."""
    if not recipients:
        raise ValueError("an envelope needs at least one recipient")
    return [
        recipient.encode_recipient_info(profile, content_encryption_key)
        for recipient in distinct(recipients)
    ]


def envelope_version(recipients: Sequence[Recipient], profile: Profile) -> int:
    """Of EnvelopedData without attributes (RFC 5652 section 6.1); AuthEnvelopedData has 0."""
    if profile.content_type == oids.AUTH_ENVELOPED_DATA:
        return 0
    return max(recipient.key_encryption(profile).envelope_version for recipient in recipients)


def _plan(
    version_and_recipients: bytes,
    cipher: SealingCipher,
    content_size: int,
    profile: Profile,
    content_type: str,
) -> _Plan:
    row = PROFILES[profile]
    encrypted_size = cipher.encrypted_size(content_size)
    has_tag = row.content_type == oids.AUTH_ENVELOPED_DATA
    tail_size = len(der.octet_string(bytes(_TAG_SIZE))) if has_tag else 0
    content_info = der.oid(content_type) + cipher.algorithm.encode()
    head = envelope_head(
        row.content_type, version_and_recipients, content_info, encrypted_size, tail_size
    )
    return _Plan(head, encrypted_size, tail_size)


def envelope_head(
    content_type: str,
    version_and_recipients: bytes,
    content_info: bytes,
    encrypted_size: int,
    tail_size: int,
) -> bytes:
    """DER of all that stands before the encrypted content.

    Args:
        content_type: of the envelope, dotted.
        version_and_recipients: both as encoded.
        content_info: contentType and contentEncryptionAlgorithm as encoded.
        encrypted_size: bytes of encrypted content.
        tail_size: bytes of what follows encryptedContentInfo in the envelope, as encoded.
    """
    # From the inside out: each layer's header needs the length of all inside it.
    head = content_info + der.header(tags.context(0), encrypted_size)
    head = der.header(_SEQUENCE, len(head) + encrypted_size) + head
    head = version_and_recipients + head
    rest = encrypted_size + tail_size
    head = der.header(_SEQUENCE, len(head) + rest) + head
    head = der.header(tags.context(0) | tags.CONSTRUCTED, len(head) + rest) + head
    head = der.oid(content_type) + head
    return der.header(_SEQUENCE, len(head) + rest) + head


# --- the structural proof ----------------------------------------------------


def check_sealed(
    source: Source,
    content_encryption_key: bytes,
    recipients: Sequence[Recipient],
    *,
    profile: Profile | None = None,
    sink: Sink = DISCARD,
    limits: Limits = DEFAULT_LIMITS,
    known: Envelope | None = None,
) -> CheckedEnvelope:
    """Proves a sealed CMS without a private key: who can open it, and what it holds.

    Args:
        source: the CMS as it was read back, and nothing else.
        content_encryption_key: from ``Sealed``.
        recipients: those it must name, each once, and no others.
        profile: where given, the algorithms must be those of the profile.
        sink: takes the content; it is proven only when this returns.
        limits: bounds on hostile input.
        known: the envelope, where the source was read already.

    Raises:
        MalformedMessage: it is not such a CMS.
        DecryptionFailed: the content does not open under the key.
    """
    envelope = known
    if envelope is None:
        with source.open() as stream:
            envelope = read_envelope(stream, limits)
    if envelope.trailing_bytes:
        raise MalformedMessage(f"{envelope.trailing_bytes} bytes follow the envelope")
    _check_recipients(envelope, distinct(recipients))
    if profile is not None:
        _check_profile(envelope, distinct(recipients), profile)
    sealed = SealedEnvelope.prepare(source, envelope, limits)
    content = sealed.decrypt(content_encryption_key, sink)
    return CheckedEnvelope(
        envelope.digest, content.sha256, content.size, envelope.encrypted_content_type
    )


def _check_recipients(envelope: Envelope, recipients: Sequence[Recipient]) -> None:
    expected = Counter((recipient.recipient_kind, recipient.identifier) for recipient in recipients)
    found = Counter((info.kind, info.identifier) for info in envelope.recipients.kept)
    if found != expected or not envelope.recipients.is_complete:
        raise MalformedMessage("the envelope does not name exactly the recipients it should")


def _check_profile(envelope: Envelope, recipients: Sequence[Recipient], profile: Profile) -> None:
    row = PROFILES[profile]
    content = (envelope.content_type, envelope.content_encryption_algorithm.oid)
    by_identifier = {recipient.identifier: recipient for recipient in recipients}
    if content == (row.content_type, row.content_encryption) and all(
        isinstance(info.identifier, IssuerAndSerialNumber)
        and _is_of_profile(info, by_identifier[info.identifier], profile)
        for info in envelope.recipients.kept
    ):
        return
    raise MalformedMessage(f"the envelope is not as profile {profile.value} writes it")


def _is_of_profile(info: RecipientInfo, recipient: Recipient, profile: Profile) -> bool:
    return recipient.key_encryption(profile).has_written(info, recipient.public_key)
