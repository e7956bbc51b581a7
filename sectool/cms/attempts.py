"""Which keys and secrets may open an envelope, in the order in which they are tried.

First the keys that recipients name, in the order of the recipients; then
passwords and shared keys without a name; last the private keys that nothing
names, where a person asked for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial

from sectool.budget import Work, current
from sectool.cms.envelope import Envelope
from sectool.cms.identifiers import display_identifier
from sectool.cms.key_agreement import check_key_agreement, unwrap_key_agreement
from sectool.cms.key_encapsulation import check_key_encapsulation, unwrap_key_encapsulation
from sectool.cms.key_kinds import UnknownRecipient, UnknownRecipients, kind_of_recipient
from sectool.cms.key_transport import check_key_transport, unwrap_key_transport
from sectool.cms.recipients import RecipientInfo, RecipientKind, UnwrappedKey
from sectool.cms.seams import KeyOperations, KeySource, RecipientIdentifier, SenderKeys
from sectool.cms.shared_secrets import (
    SharedSecrets,
    check_password,
    check_shared_key,
    display_shared_key,
    find_shared_keys,
)
from sectool.errors import (
    MalformedMessage,
    MissingKey,
    UnsupportedMessage,
)
from sectool.values import dataclass

_NAMED_RECIPIENTS = 3
_SHARED = frozenset({RecipientKind.KEY_ENCRYPTION_KEY, RecipientKind.PASSWORD})
_PRIVATE = frozenset({RecipientKind.KEY_TRANSPORT, RecipientKind.KEY_AGREEMENT, RecipientKind.KEM})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One key or secret for one recipient."""

    key_label: str
    identifier: RecipientIdentifier | None
    unwrap: Callable[[], UnwrappedKey] = field(repr=False)
    is_named: bool = True
    """Whether the recipient names the key, so that its failure is the message's."""
    is_asked_for: bool = True
    """False for a key that nothing of the message speaks of: what keeps it from being used
    says nothing of the message."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """All that can be tried on one envelope."""

    all: tuple[Attempt, ...]
    failure: MissingKey | UnsupportedMessage | None
    """What to say when none fits; None: a recipient named a key that is held."""
    is_complete: bool = True
    """Whether keys that nothing names are among them, if there are any."""


def is_held(keys: KeySource, secrets: SharedSecrets, recipient_info: RecipientInfo) -> bool:
    """Whether a key or secret at hand is there for a recipient."""
    identifier = recipient_info.identifier
    if identifier is not None:
        return bool(keys.find(identifier))
    return any(True for _ in find_shared_keys(recipient_info, secrets))


def find_attempts(
    envelope: Envelope,
    keys: KeySource,
    *,
    secrets: SharedSecrets,
    unnamed_keys: Sequence[KeyOperations],
    senders: SenderKeys | None,
) -> Attempts:
    """What may open the envelope; arguments as of ``find_openings``.

    Raises:
        MissingKey: there is nothing to try.
        UnsupportedMessage: there is not, and no recipient is of a kind that can be opened.
        MalformedMessage: the envelope has no recipients.
    """
    if not envelope.recipients.total:
        raise MalformedMessage("the message names no recipients")
    named: list[Attempt] = []
    unnamed: list[Attempt] = []
    for recipient_info in envelope.recipients.kept:
        identifier = recipient_info.identifier
        if identifier is not None:
            named += [
                Attempt(key.label, identifier, partial(unwrap, recipient_info, key, senders))
                for key in keys.find(identifier)
            ]
        for shared in find_shared_keys(recipient_info, secrets):
            attempt = Attempt(shared.label, None, shared.unwrap, shared.is_named)
            (named if shared.is_named else unnamed).append(attempt)
    may_serve = [info for info in envelope.recipients.kept if info.kind in _PRIVATE]
    unkept = envelope.recipients.total - len(envelope.recipients.kept)
    trials = (len(may_serve) + unkept) * len(unnamed_keys)
    are_tried = trials <= current().left(Work.PRIVATE_KEY)
    unnamed += _unnamed(may_serve, unnamed_keys, senders) if are_tried else []
    failure = None if named else _failure(envelope, secrets, are_tried=are_tried)
    attempts = (*named, *unnamed)
    if failure is not None and not attempts:
        if not are_tried:
            current().decline()
        raise failure
    return Attempts(attempts, failure, are_tried)


def _unnamed(
    recipient_infos: Sequence[RecipientInfo],
    keys: Sequence[KeyOperations],
    senders: SenderKeys | None,
) -> list[Attempt]:
    """Each key on each recipient; a key of another kind fails at once, at no cost."""
    return [
        Attempt(
            key.label,
            info.identifier,
            partial(unwrap, info, key, senders),
            is_named=False,
            is_asked_for=False,
        )
        for info in recipient_infos
        for key in keys
    ]


def _failure(
    envelope: Envelope, secrets: SharedSecrets, *, are_tried: bool
) -> MissingKey | UnsupportedMessage:
    """What to say where nothing fits: whose key is missing, or that no key would help.

    Args:
        envelope: none of whose recipients names a key that is held.
        secrets: that were tried.
        are_tried: whether keys that nothing names were, if there are any.
    """
    kept = envelope.recipients.kept
    unkept = envelope.recipients.total - len(kept)
    reasons = [why_unsupported(info) for info in kept]
    unsupported = Counter(filter(None, reasons))
    missing = [info for info, why in zip(kept, reasons, strict=True) if not why]
    if not missing:
        return UnsupportedMessage(_in_short(list(unsupported)))
    named = [_display(info, secrets) for info in missing[:_NAMED_RECIPIENTS]]
    if more := len(missing) + unkept - len(named):
        named.append(f"{more} more")
    text = "; ".join(named)
    if unsupported:
        text += f"; and {unsupported.total()} besides: {_in_short(list(unsupported))}"
    if not are_tried:
        text += "; keys without certificate were not tried on so many recipients"
        text += current().remedy
    if not unkept and all(info.kind in _SHARED for info in missing):
        return MissingKey(
            f"no shared secret for any recipient: {text}",
            hint="give the shared key or password in a file with --secrets",
        )
    failure = UnknownRecipients(
        f"no key for any recipient: {text}",
        hint="add the key file that holds one of them with --keys",
    )
    failure.recipients = tuple(_unknown(missing))
    return failure


def _unknown(recipient_infos: Sequence[RecipientInfo]) -> Iterator[UnknownRecipient]:
    for info in recipient_infos:
        kind = kind_of_recipient(info)
        if info.identifier is not None and kind is not None:
            yield UnknownRecipient(info.identifier, kind)


def _in_short(reasons: Sequence[str]) -> str:
    more = len(reasons) - _NAMED_RECIPIENTS
    shown = [*reasons[:_NAMED_RECIPIENTS], *([f"{more} more"] if more > 0 else [])]
    return "; ".join(shown)


def _display(info: RecipientInfo, secrets: SharedSecrets) -> str:
    if info.identifier is not None:
        return display_identifier(info.identifier)
    if info.kind is RecipientKind.KEY_ENCRYPTION_KEY:
        return display_shared_key(info)
    return "a password, and none that was given fits" if secrets.passwords else "a password"


# --- what unwraps a key: one row for each kind of recipient ---------------------------------------


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
