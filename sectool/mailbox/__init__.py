"""Stores of mail, behind one seam; ``recognise`` and ``open_mailbox`` are the doors."""

from sectool.mailbox.access import (
    Access,
    Account,
    Ahead,
    Credentials,
    MailboxSpecification,
    MessageHead,
    MessageSource,
)
from sectool.mailbox.base import (
    Add,
    Capabilities,
    Keeps,
    Mailbox,
    Merge,
    Note,
    Placed,
    Replace,
    Retirement,
    Unit,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.recognise import is_account, open_mailbox, recognise
from sectool.mailbox.retrying import Retrying, Tries, check_stopped, patience, stopped_by
from sectool.message import NOTHING, Intent

__all__ = [
    "NOTHING",
    "Access",
    "Account",
    "Add",
    "Ahead",
    "Capabilities",
    "Credentials",
    "Intent",
    "Keeps",
    "Mailbox",
    "MailboxSpecification",
    "Merge",
    "MessageHead",
    "MessageSource",
    "Note",
    "Placed",
    "Replace",
    "Retirement",
    "Retrying",
    "Tries",
    "Unit",
    "Whereabouts",
    "Written",
    "check_stopped",
    "is_account",
    "note_nothing",
    "open_mailbox",
    "patience",
    "recognise",
    "stopped_by",
]
