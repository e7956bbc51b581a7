"""Trees of ``.eml`` files: a directory is a folder, a file a message."""

from sectool.mailbox.eml.store import KIND, Eml, may_be, recognises

__all__ = ["KIND", "Eml", "may_be", "recognises"]
