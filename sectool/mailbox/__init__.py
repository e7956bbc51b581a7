"""Stores of mail, behind one seam; ``recognise`` and ``open_mailbox`` are the doors."""

from sectool.mailbox.base import (
    NOTHING,
    Addition,
    Announcement,
    Capabilities,
    Mailbox,
    MailboxSpecification,
    PlacedCopy,
    Replacement,
    StagedCopy,
    Whereabouts,
)
from sectool.mailbox.recognise import open_mailbox, recognise

__all__ = [
    "NOTHING",
    "Addition",
    "Announcement",
    "Capabilities",
    "Mailbox",
    "MailboxSpecification",
    "PlacedCopy",
    "Replacement",
    "StagedCopy",
    "Whereabouts",
    "open_mailbox",
    "recognise",
]
