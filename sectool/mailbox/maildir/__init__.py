"""Maildirs, as mail servers and programs keep them: one file a message, in layouts of their own."""

from sectool.mailbox.maildir.store import KIND, Maildir, may_be, recognises

__all__ = ["KIND", "Maildir", "may_be", "recognises"]
