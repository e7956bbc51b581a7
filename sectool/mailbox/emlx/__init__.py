"""Trees of ``.emlx`` files, as Apple Mail keeps its mail: read, and not written."""

from sectool.mailbox.emlx.store import KIND, Emlx, may_be, recognises

__all__ = ["KIND", "Emlx", "may_be", "recognises"]
