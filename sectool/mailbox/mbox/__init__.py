"""mbox files, single or in trees, as Thunderbird, Apple Mail, mutt and Dovecot keep them."""

from sectool.mailbox.mbox.store import KIND, Mbox, recognises

__all__ = ["KIND", "Mbox", "recognises"]
