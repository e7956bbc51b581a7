"""Exchanges the recipients of an envelope and keeps its content as it is encrypted.

Ciphertext, algorithm, attributes and tag pass through, in DER; nothing of the
content is judged here, and none of the old recipients stays (RFC 5652 section 6.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.algorithms import read_inner_algorithm
from sectool.cms.envelope import Envelope, canonical_set
from sectool.cms.limits import Limits
from sectool.cms.opening import Opening
from sectool.cms.profiles import Profile, Recipient
from sectool.cms.sealing import envelope_head, envelope_version, wrap_for
from sectool.cms.seams import HashingSink
from sectool.errors import UnsupportedMessage
from sectool.message import Sink
from sectool.values import dataclass

_KEPT_CONTENT = {
    oids.ENVELOPED_DATA: frozenset({oids.AES_128_CBC, oids.AES_192_CBC, oids.AES_256_CBC}),
    oids.AUTH_ENVELOPED_DATA: frozenset({oids.AES_128_GCM, oids.AES_192_GCM, oids.AES_256_GCM}),
}
"""Content encryption that is good enough to stay, by the type of the envelope."""

_ATTRIBUTES_VERSION = 2
"""Of an EnvelopedData with unprotectedAttrs, at least."""


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """A CMS that was written; ``check_sealed`` proves it."""

    digest: str
    """SHA-256 of the CMS, lower-case hexadecimal: the content digest."""
    size: int
    """Bytes of the CMS."""
    content_encryption_key: bytes = field(repr=False)
    """For ``check_sealed``; it must not be stored."""


def why_not_rewrapped(opening: Opening, profile: Profile) -> str:
    """Why new recipients under a profile are not enough; empty where they are.

    Args:
        opening: of the envelope.
        profile: says which envelopes are written; a key of 128 bits is as good as one of 256.
    """
    envelope = opening.sealed.envelope
    algorithm = envelope.content_encryption_algorithm
    if algorithm.oid == oids.CEK_HKDF_SHA256:
        algorithm = read_inner_algorithm(algorithm)
    name = oids.content_encryption_name(algorithm.oid)
    if algorithm.oid not in _KEPT_CONTENT[envelope.content_type]:
        return f"its content is encrypted with {name}, which is not kept"
    if envelope.content_type != profile.content_type:
        return f"its content is encrypted with {name}, not as profile {profile.value} writes it"
    return ""


def rewrap_envelope(
    opening: Opening, sink: Sink, recipients: Sequence[Recipient], *, profile: Profile
) -> Rewrapped:
    """Writes the envelope with other recipients, to the same content-encryption key.

    Args:
        opening: its key must have been proven by the content it gives (G3).
        sink: takes the CMS; discard it when this raises.
        recipients: at least one; they take the place of all recipients there are.
        profile: how the key is encrypted to them.

    Raises:
        UnsupportedMessage: the content is not as the profile writes it.
        CertificateUnusable: a recipient cannot serve under the profile.
        MalformedMessage: the source is damaged.
        MessageChanged: the source is not what was opened.
        LimitExceeded: the attributes are too large to keep.
    """
    if reason := why_not_rewrapped(opening, profile):
        raise UnsupportedMessage(reason)
    sealed = opening.sealed
    envelope = sealed.envelope
    if envelope.other_attributes is None:
        envelope = sealed.read_again(with_attributes=True)
    tail = _tail(envelope, sealed.limits)
    output = HashingSink(sink)
    output.write(_head(envelope, opening, recipients, profile, len(tail)))
    sealed.give_content(output.write)
    output.write(tail)
    return Rewrapped(output.digest(), output.size, opening.content_encryption_key)


def _head(
    envelope: Envelope,
    opening: Opening,
    recipients: Sequence[Recipient],
    profile: Profile,
    tail_size: int,
) -> bytes:
    version = envelope_version(recipients, profile)
    if envelope.other_attributes and envelope.content_type == oids.ENVELOPED_DATA:
        version = max(version, _ATTRIBUTES_VERSION)
    infos = wrap_for(recipients, profile, opening.content_encryption_key)
    algorithm = der.canonical(envelope.content_encryption_algorithm.encode(), opening.sealed.limits)
    return envelope_head(
        envelope.content_type,
        der.integer(version) + der.set_of(infos),
        der.oid(envelope.encrypted_content_type) + algorithm,
        opening.sealed.sealed.size,
        tail_size,
    )


def _tail(envelope: Envelope, limits: Limits) -> bytes:
    """What follows the content: attributes and tag."""
    if envelope.content_type == oids.ENVELOPED_DATA:
        return _attributes(1, envelope.other_attributes, limits)
    return (
        _attributes(1, envelope.authenticated_attributes, limits)
        + der.octet_string(envelope.mac)
        + _attributes(2, envelope.other_attributes, limits)
    )


def _attributes(number: int, attributes: bytes | None, limits: Limits) -> bytes:
    # An implicit tag: only the first octet differs from that of a SET.
    encoded = canonical_set(attributes or b"", limits)
    return bytes((tags.context(number) | tags.CONSTRUCTED,)) + encoded[1:] if encoded else b""
