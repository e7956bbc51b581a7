"""Stores of mail, behind one seam; ``recognise`` and ``open_mailbox`` are the doors."""

from sectool.mailbox.base import (
    Access,
    Add,
    Capabilities,
    Credentials,
    Keeps,
    Mailbox,
    MailboxSpecification,
    Merge,
    MessageHead,
    Note,
    Placed,
    Replace,
    Retirement,
    Unit,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.recognise import open_mailbox, recognise
from sectool.mailbox.retrying import Retrying, Tries, stopped_by
from sectool.message import NOTHING, Intent

__all__ = [
    "NOTHING",
    "Access",
    "Add",
    "Capabilities",
    "Credentials",
    "Intent",
    "Keeps",
    "Mailbox",
    "MailboxSpecification",
    "Merge",
    "MessageHead",
    "Note",
    "Placed",
    "Replace",
    "Retirement",
    "Retrying",
    "Tries",
    "Unit",
    "Whereabouts",
    "Written",
    "note_nothing",
    "open_mailbox",
    "recognise",
    "stopped_by",
]
