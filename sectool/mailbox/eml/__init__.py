"""Trees of ``.eml`` files: a directory is a folder, a file a message."""

from functools import partial

from sectool.mailbox.eml.layout import SUFFIX, lies_below
from sectool.mailbox.eml.store import KIND, Eml

recognises = partial(lies_below, SUFFIX, soon=True)
may_be = partial(lies_below, SUFFIX)

__all__ = ["KIND", "Eml", "may_be", "recognises"]
