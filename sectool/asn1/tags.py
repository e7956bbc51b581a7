"""Tags of X.690, as both readers and the writer have them."""

from __future__ import annotations

from typing import Final

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x10
SET: Final = 0x11

CONSTRUCTED: Final = 0x20
"""The bit of an identifier octet that says that elements follow; no tag has it."""


def context(number: int) -> int:
    """The tag of context-specific class with that number."""
    return 0x80 | number
