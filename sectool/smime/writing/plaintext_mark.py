"""The one field that a plaintext copy carries: which job and message it belongs to.

It holds no secret and no address, and proves nothing: it says which message a
copy is tried as first. The content decides.
"""

from __future__ import annotations

import re

from sectool.mime.header import HeaderBlock
from sectool.values import dataclass

MARK_FIELD = b"x-sectool-id"
"""Name of the field, lower case."""

_VALUE = re.compile(rb"v=1;\s*job=([0-9a-f-]{1,64});\s*message=([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose plaintext copy a message is."""

    job: str
    """Unique name of the job."""
    message: int
    """Number of its row in the job log."""

    def field(self, line_end: bytes) -> bytes:
        """The header field, as one line."""
        return f"X-Sectool-Id: v=1; job={self.job}; message={self.message}".encode() + line_end


def find_mark(header: HeaderBlock) -> Mark | None:
    """The first mark of a header that reads like one of ours; None: there is none."""
    for field in header.fields:
        if field.name == MARK_FIELD and (match := _VALUE.fullmatch(field.value)):
            return Mark(match[1].decode(), int(match[2]))
    return None
