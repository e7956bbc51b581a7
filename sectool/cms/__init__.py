"""CMS envelopes, streamed: described, opened and sealed (RFC 5652, 5083, 5084, 8017, 4055).

Reads BER and DER, writes DER. Knows keys only by their operations, and no mail.
"""

from sectool.cms.addresses import certificate_addresses, comparable_address, is_same_address
from sectool.cms.envelope import (
    EnvelopeDescription,
    IdentifierFilter,
    RecipientDescription,
    RecipientsSeen,
    describe_envelope,
    identify,
    read_recipients,
)
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.oids import (
    AUTH_ENVELOPED_DATA,
    AUTHENTICATED_DATA,
    COMPRESSED_DATA,
    DIGESTED_DATA,
    ENCRYPTED_DATA,
    ENVELOPED_DATA,
    ID_DATA,
    SIGNED_AND_ENVELOPED_DATA,
    SIGNED_DATA,
    TST_INFO,
    content_type_name,
)
from sectool.cms.opening import (
    Authenticated,
    Opening,
    Openings,
    Unproven,
    find_openings,
    open_envelope,
)
from sectool.cms.profiles import Profile, Recipient
from sectool.cms.recipients import RecipientKind
from sectool.cms.rewrapping import Rewrapped, rewrap_envelope, why_not_rewrapped
from sectool.cms.sealing import (
    CheckedEnvelope,
    Sealed,
    Sealer,
    check_sealed,
    seal_envelope,
    sealed_size,
)
from sectool.cms.seams import (
    OAEP,
    IssuerAndSerialNumber,
    KeyOperations,
    KeySource,
    PKCS1v15,
    RecipientIdentifier,
    RSAPadding,
    SenderKeys,
    Sink,
    SizedSource,
    Source,
    SubjectKeyIdentifier,
)
from sectool.cms.shared_secrets import NO_SECRETS, SharedSecrets
from sectool.cms.signatures import Digests, Signer, verify_signers
from sectool.cms.sinks import DISCARD, HashingSink

__all__ = [
    "AUTHENTICATED_DATA",
    "AUTH_ENVELOPED_DATA",
    "COMPRESSED_DATA",
    "DEFAULT_LIMITS",
    "DIGESTED_DATA",
    "DISCARD",
    "ENCRYPTED_DATA",
    "ENVELOPED_DATA",
    "ID_DATA",
    "NO_SECRETS",
    "OAEP",
    "SIGNED_AND_ENVELOPED_DATA",
    "SIGNED_DATA",
    "TST_INFO",
    "Authenticated",
    "CheckedEnvelope",
    "Digests",
    "EnvelopeDescription",
    "HashingSink",
    "IdentifierFilter",
    "IssuerAndSerialNumber",
    "KeyOperations",
    "KeySource",
    "Limits",
    "Opening",
    "Openings",
    "PKCS1v15",
    "Profile",
    "RSAPadding",
    "Recipient",
    "RecipientDescription",
    "RecipientIdentifier",
    "RecipientKind",
    "RecipientsSeen",
    "Rewrapped",
    "Sealed",
    "Sealer",
    "SenderKeys",
    "SharedSecrets",
    "Signer",
    "Sink",
    "SizedSource",
    "Source",
    "SubjectKeyIdentifier",
    "Unproven",
    "certificate_addresses",
    "check_sealed",
    "comparable_address",
    "content_type_name",
    "describe_envelope",
    "find_openings",
    "identify",
    "is_same_address",
    "open_envelope",
    "read_recipients",
    "rewrap_envelope",
    "seal_envelope",
    "sealed_size",
    "verify_signers",
    "why_not_rewrapped",
]
