"""From a RecipientInfo and a private key to the content-encryption key: one row for each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sectool.cms import oids
from sectool.cms.key_agreement import unwrap_key_agreement
from sectool.cms.key_encapsulation import unwrap_key_encapsulation
from sectool.cms.key_transport import unwrap_key_transport
from sectool.cms.recipients import RecipientInfo, RecipientKind, UnwrappedKey
from sectool.cms.seams import KeyOperations, SenderKeys
from sectool.errors import UnsupportedMessage

_UNWRAPPERS: dict[RecipientKind, Callable[[RecipientInfo, KeyOperations], UnwrappedKey]] = {
    RecipientKind.KEY_TRANSPORT: unwrap_key_transport,
    RecipientKind.KEM: unwrap_key_encapsulation,
}


def unwrap(
    recipient_info: RecipientInfo, key: KeyOperations, senders: SenderKeys | None = None
) -> UnwrappedKey:
    """The content-encryption key, through one private key.

    Args:
        recipient_info: names its algorithm.
        key: to try.
        senders: certificates beside those in the message; None: there are none.

    Raises:
        DecryptionFailed: the key does not fit.
        MalformedMessage: the RecipientInfo or its algorithm is damaged.
        UnsupportedMessage: this kind of recipient or its algorithm is not supported.
    """
    unwrapper = _UNWRAPPERS.get(recipient_info.kind)
    if recipient_info.kind is RecipientKind.KEY_AGREEMENT:
        unwrapper = partial(unwrap_key_agreement, senders=senders)
    if unwrapper is None:
        algorithm = recipient_info.algorithm
        name = f" with {oids.key_encryption_name(algorithm.oid)}" if algorithm else ""
        raise UnsupportedMessage(f"recipients by {recipient_info.kind}{name} are not supported")
    return unwrapper(recipient_info, key)
