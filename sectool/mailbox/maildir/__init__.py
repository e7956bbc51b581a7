"""Maildirs, as mail servers and programs keep them: one file a message, in layouts of their own."""

from sectool.mailbox.maildir.store import KIND, Maildir, folders_at, recognises

__all__ = ["KIND", "Maildir", "folders_at", "recognises"]
