"""How this room reads BER: within its bounds, and with its errors."""

from __future__ import annotations

from sectool.asn1.tree import TreeReader
from sectool.keys.limits import MAXIMUM_DEPTH, MAXIMUM_ELEMENTS
from sectool.keys.problems import damaged, over_limit

_READER = TreeReader(MAXIMUM_DEPTH, MAXIMUM_ELEMENTS, damaged, over_limit)

read = _READER.read
read_exactly = _READER.read_exactly
