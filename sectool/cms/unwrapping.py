"""From a RecipientInfo and a private key to the content-encryption key: one row for each kind."""

from __future__ import annotations

from collections.abc import Callable

from sectool.cms import oids
from sectool.cms.key_agreement import unwrap_key_agreement
from sectool.cms.key_encapsulation import unwrap_key_encapsulation
from sectool.cms.key_transport import unwrap_key_transport
from sectool.cms.recipients import RecipientInfo, RecipientKind, UnwrappedKey
from sectool.cms.seams import KeyOperations
from sectool.errors import UnsupportedMessage

_UNWRAPPERS: dict[RecipientKind, Callable[[RecipientInfo, KeyOperations], UnwrappedKey]] = {
    RecipientKind.KEY_TRANSPORT: unwrap_key_transport,
    RecipientKind.KEY_AGREEMENT: unwrap_key_agreement,
    RecipientKind.KEM: unwrap_key_encapsulation,
}


def unwrap(recipient_info: RecipientInfo, key: KeyOperations) -> UnwrappedKey:
    """The content-encryption key, through one private key.

    Raises:
        DecryptionFailed: the key does not fit.
        MalformedMessage: the RecipientInfo or its algorithm is damaged.
        UnsupportedMessage: this kind of recipient or its algorithm is not supported.
    """
    unwrapper = _UNWRAPPERS.get(recipient_info.kind)
    if unwrapper is None:
        algorithm = recipient_info.algorithm
        name = f" with {oids.key_encryption_name(algorithm.oid)}" if algorithm else ""
        raise UnsupportedMessage(f"recipients by {recipient_info.kind}{name} are not supported")
    return unwrapper(recipient_info, key)
