"""CMS envelopes, streamed: described, opened and sealed (RFC 5652, 5083, 5084, 8017, 4055).

Reads BER and DER, writes DER. Knows keys only by their operations, and no mail.
"""

from sectool.cms.description import (
    EnvelopeDescription as EnvelopeDescription,
    IdentifierFilter as IdentifierFilter,
    RecipientDescription as RecipientDescription,
    RecipientsSeen as RecipientsSeen,
    describe_envelope as describe_envelope,
    read_recipients as read_recipients,
)
from sectool.cms.envelope import identify as identify
from sectool.cms.envelope_head import (
    EnvelopeHead as EnvelopeHead,
    read_envelope_head as read_envelope_head,
)
from sectool.cms.key_kinds import (
    KeyKind as KeyKind,
    UnknownRecipients as UnknownRecipients,
    kind_of_key as kind_of_key,
)
from sectool.cms.limits import DEFAULT_LIMITS as DEFAULT_LIMITS, Limits as Limits
from sectool.cms.names import (
    certificate_addresses as certificate_addresses,
    comparable_address as comparable_address,
)
from sectool.cms.oids import (
    AUTH_ENVELOPED_DATA as AUTH_ENVELOPED_DATA,
    AUTHENTICATED_DATA as AUTHENTICATED_DATA,
    COMPRESSED_DATA as COMPRESSED_DATA,
    DIGESTED_DATA as DIGESTED_DATA,
    ENCRYPTED_DATA as ENCRYPTED_DATA,
    ENVELOPED_DATA as ENVELOPED_DATA,
    ID_DATA as ID_DATA,
    SIGNED_AND_ENVELOPED_DATA as SIGNED_AND_ENVELOPED_DATA,
    SIGNED_DATA as SIGNED_DATA,
    TST_INFO as TST_INFO,
    content_type_name as content_type_name,
)
from sectool.cms.opening import (
    Authenticated as Authenticated,
    Opening as Opening,
    Openings as Openings,
    Unproven as Unproven,
    find_openings as find_openings,
)
from sectool.cms.profiles import Profile as Profile, Recipient as Recipient
from sectool.cms.recipients import RecipientKind as RecipientKind
from sectool.cms.rewrapping import (
    Rewrapped as Rewrapped,
    rewrap_envelope as rewrap_envelope,
    why_not_rewrapped as why_not_rewrapped,
)
from sectool.cms.sealing import (
    CheckedEnvelope as CheckedEnvelope,
    Sealed as Sealed,
    Sealer as Sealer,
    check_sealed as check_sealed,
    seal_envelope as seal_envelope,
    sealed_size as sealed_size,
)
from sectool.cms.seams import (
    DISCARD as DISCARD,
    OAEP as OAEP,
    HashingSink as HashingSink,
    IssuerAndSerialNumber as IssuerAndSerialNumber,
    KeyOperations as KeyOperations,
    KeySource as KeySource,
    PKCS1v15 as PKCS1v15,
    RecipientIdentifier as RecipientIdentifier,
    RSAPadding as RSAPadding,
    SenderKeys as SenderKeys,
    Source as Source,
    SubjectKeyIdentifier as SubjectKeyIdentifier,
)
from sectool.cms.shared_secrets import NO_SECRETS as NO_SECRETS, SharedSecrets as SharedSecrets
from sectool.cms.signatures import (
    Digests as Digests,
    Signer as Signer,
    verify_signers as verify_signers,
)
from sectool.message import Sink as Sink
