"""The BER reader of this room: the bounds on CMS travel with it."""

from __future__ import annotations

from typing import BinaryIO, Self

from sectool.asn1.reader import BERReader
from sectool.cms.limits import DEFAULT_LIMITS, Limits


class CMSReader(BERReader[Limits]):
    """Reads a CMS structure or a part of one."""

    def __init__(self, stream: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(stream, limits)

    @classmethod
    def over(cls, raw: bytes, limits: Limits = DEFAULT_LIMITS) -> Self:
        """As for any structure."""
        return super().over(raw, limits)
