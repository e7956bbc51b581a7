"""Who could read the mail before it was encrypted to the new recipients, and cannot after."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from sectool import cms
from sectool.joblog import JobLog, JobMessage
from sectool.jobs.session.new_certificates import names_of
from sectool.keys import KeyHistory, NewRecipient, recipient_of
from sectool.outcome import RecipientKey
from sectool.summary import EncryptingSummary

_SENT = re.compile(
    "sent|outbox|gesendet|postausgang|envoy|enviad|inviat|posta in uscita|verzonden|skickat|"
    "sendt|lähetetyt|wysłane|odeslan|отправленн|送信済|已发送|已傳送|보낸",
    re.IGNORECASE,
)
"""What mail programs call the folder of sent mail: a Maildir has no ``\\Sent`` (RFC 6154)."""


def describe_losing_access(
    summary: EncryptingSummary,
    log: JobLog,
    messages: Iterable[JobMessage],
    recipients: Sequence[NewRecipient],
    histories: Iterable[KeyHistory | None],
) -> None:
    """Counts who could read messages with a key that is neither in the history nor a new one.

    Who has another certificate at hand that names an address of a new one loses nothing.

    Args:
        summary: what is counted goes there.
        log: knows the recipients of the messages as they were found.
        messages: those that would be encrypted to ``recipients``, beside those that are.
        recipients: the new ones.
        histories: keys at hand, with the certificates that lay beside them.
    """
    covered = names_of(recipients)
    addresses = dict(chain.from_iterable(map(_addresses_at_hand, histories)))
    named = chain(
        log.messages.parts.strangers_of_replaced(),
        (
            (key, message.ref.folder, 1)
            for message in messages
            for key in log.messages.parts.strangers(message.message)
        ),
    )
    losing: Counter[RecipientKey] = Counter()
    for key, folder, count in named:
        known = addresses.get(key, ())
        if key in covered or any(one.names(*known) for one in recipients):
            continue
        losing[key] += count
        if _SENT.search(folder):
            summary.losing_access_sent[key] += count
    summary.losing_access = dict(losing)
    summary.addresses_at_hand = {key: addresses[key] for key in losing if addresses.get(key)}


def _addresses_at_hand(
    history: KeyHistory | None,
) -> Iterator[tuple[RecipientKey, tuple[str, ...]]]:
    """The mail addresses of certificates that lay beside the keys, by how envelopes name them."""
    for held in () if history is None else history.others:
        if held.parsed is None:
            continue
        addresses = cms.certificate_addresses(held.parsed)
        yield recipient_of(cms.IssuerAndSerialNumber(held.issuer, held.serial_number)), addresses
        if held.subject_key_identifier is not None:
            yield RecipientKey("", "", held.subject_key_identifier.hex()), addresses
