"""From a RecipientInfo and a private key to the content-encryption key: one row for each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sectool.cms.key_agreement import check_key_agreement, unwrap_key_agreement
from sectool.cms.key_encapsulation import check_key_encapsulation, unwrap_key_encapsulation
from sectool.cms.key_transport import check_key_transport, unwrap_key_transport
from sectool.cms.recipients import RecipientInfo, RecipientKind, UnwrappedKey
from sectool.cms.seams import KeyOperations, SenderKeys
from sectool.cms.shared_secrets import check_password, check_shared_key
from sectool.errors import MalformedMessage, UnsupportedMessage

_CHECKS: dict[RecipientKind, Callable[[RecipientInfo], object]] = {
    RecipientKind.KEY_TRANSPORT: check_key_transport,
    RecipientKind.KEY_AGREEMENT: check_key_agreement,
    RecipientKind.KEM: check_key_encapsulation,
    RecipientKind.KEY_ENCRYPTION_KEY: check_shared_key,
    RecipientKind.PASSWORD: check_password,
}
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
        raise UnsupportedMessage(f"recipients by {recipient_info.kind} are not supported")
    return unwrapper(recipient_info, key)


def why_unsupported(recipient_info: RecipientInfo) -> str:
    """Why no key or secret could serve a recipient, by its algorithms alone; empty: one may."""
    check = _CHECKS.get(recipient_info.kind)
    if check is None:
        kind = (
            f"kind {recipient_info.algorithm.oid}" if recipient_info.algorithm else "unknown kind"
        )
        return f"recipients of {kind} are not supported"
    try:
        check(recipient_info)
    except UnsupportedMessage as error:
        return error.message
    except MalformedMessage:
        return ""
    return ""
