"""Maildirs, as Dovecot, Courier and Exim keep them: one directory a folder, one file a message."""

from sectool.mailbox.maildir.store import KIND, Maildir, is_maildir

__all__ = ["KIND", "Maildir", "is_maildir"]
