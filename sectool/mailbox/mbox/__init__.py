"""mbox files, single or in trees, as Thunderbird, Apple Mail, mutt and Dovecot keep them."""

from sectool.mailbox.mbox.store import KIND, Mbox, may_be, recognises

__all__ = ["KIND", "Mbox", "may_be", "recognises"]
