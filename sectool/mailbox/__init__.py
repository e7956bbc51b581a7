"""Stores of mail, behind one seam; ``recognise`` and ``open_mailbox`` are the doors."""

from sectool.mailbox.base import (
    Add,
    Capabilities,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Whereabouts,
    Written,
)
from sectool.mailbox.recognise import open_mailbox, recognise
from sectool.message import NOTHING, Intent

__all__ = [
    "NOTHING",
    "Add",
    "Capabilities",
    "Intent",
    "Mailbox",
    "MailboxSpecification",
    "Placed",
    "Replace",
    "Whereabouts",
    "Written",
    "open_mailbox",
    "recognise",
]
