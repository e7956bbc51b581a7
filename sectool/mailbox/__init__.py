"""Stores of mail, behind one seam; ``recognise`` and ``open_mailbox`` are the doors."""

from sectool.mailbox.base import (
    NOTHING,
    Access,
    Add,
    Capabilities,
    Credentials,
    Intent,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Whereabouts,
    Written,
)
from sectool.mailbox.recognise import open_mailbox, recognise
from sectool.mailbox.retrying import Retrying, Tries, stopped_by

__all__ = [
    "NOTHING",
    "Access",
    "Add",
    "Capabilities",
    "Credentials",
    "Intent",
    "Mailbox",
    "MailboxSpecification",
    "Placed",
    "Replace",
    "Retrying",
    "Tries",
    "Whereabouts",
    "Written",
    "open_mailbox",
    "recognise",
    "stopped_by",
]
