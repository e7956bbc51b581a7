"""Joins the segments of an OCTET STRING that comes in millions of them."""

from __future__ import annotations

_OCTET_STRING = 0x04
_SEGMENT_HEADER = 6
"""Bytes that the header of a segment has at most, where it is not left to the parser."""
_TINY = 8
"""Bytes of a segment that costs more to look at than to copy."""
_RUN = 16
"""Tiny segments of one length that have to follow each other before more are looked at together."""
_TOGETHER = 512
"""Tiny segments looked at together."""


def join_segments(buffer: bytes, position: int, stop: int, parts: list[bytes]) -> int:
    """Takes primitive segments that follow each other (X.690 section 8.7.3).

    Args:
        buffer: holds them.
        position: of the first.
        stop: where the buffer ends, or what they are in.
        parts: takes their contents.

    Returns:
        Where what is no such segment begins, or is left to a parser for its rare form.
    """
    while position + _SEGMENT_HEADER <= stop and buffer[position] == _OCTET_STRING:
        length, start = buffer[position + 1], position + 2
        if length > 0x80:
            octets = length - 0x80
            if octets > _SEGMENT_HEADER - 2:
                break
            length, start = int.from_bytes(buffer[start : start + octets]), start + octets
        if length == 0x80 or start + length > stop:
            break
        if length <= _TINY and start == position + 2 and _begins_run(buffer, position, length):
            content, position = _join_tiny(buffer, position, stop, length)
            parts.append(content)
            continue
        position = start + length
        parts.append(buffer[start:position])
    return position


def _begins_run(buffer: bytes, position: int, length: int) -> bool:
    """Whether some segments of one length follow each other, so that a closer look pays."""
    stride = length + 2
    stop = position + _RUN * stride
    return (
        stop <= len(buffer)
        and buffer[position + stride + 1] == length
        and buffer[stop - stride + 1] == length
        and buffer[position:stop:stride] == b"\x04" * _RUN
        and buffer[position + 1 : stop : stride] == b"%c" % length * _RUN
    )


def _join_tiny(buffer: bytes, position: int, stop: int, length: int) -> tuple[bytes, int]:
    """Joins segments of one small length that follow each other, and says where they end.

    There may be millions of a byte each: they are looked at many at a time.
    """
    stride = length + 2
    stop = min(stop, position + _TOGETHER * stride)
    count = (stop - position) // stride
    stop = position + count * stride
    tags, lengths = buffer[position:stop:stride], buffer[position + 1 : stop : stride]
    count = min(
        len(tags) - len(tags.lstrip(b"\x04")), len(lengths) - len(lengths.lstrip(b"%c" % length))
    )
    stop = position + count * stride
    content = bytearray(count * length)
    for offset in range(length):
        content[offset::length] = buffer[position + 2 + offset : stop : stride]
    return bytes(content), stop
