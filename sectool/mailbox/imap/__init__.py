"""Accounts on a server that speaks IMAP, over a wire of our own (``reader``, ``encoder``)."""

from sectool.mailbox.imap.account import IMAPMailbox as IMAPMailbox
from sectool.mailbox.imap.url import (
    PORTS as PORTS,
    account_of as account_of,
    recognise_url as recognise_url,
)
