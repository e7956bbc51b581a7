"""Trees of ``.emlx`` files, as Apple Mail keeps its mail: read, and not written."""

from functools import partial

from sectool.mailbox.eml.layout import lies_below
from sectool.mailbox.emlx.store import KIND, SUFFIX, Emlx

recognises = partial(lies_below, SUFFIX, soon=True)
may_be = partial(lies_below, SUFFIX)

__all__ = ["KIND", "Emlx", "may_be", "recognises"]
