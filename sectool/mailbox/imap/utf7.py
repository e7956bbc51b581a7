"""Names of folders in modified UTF-7 (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import binascii
import re

_RUN = re.compile(rb"&([A-Za-z0-9+,]*)-")
_ENCODED = re.compile("[^\x20-\x7e]+|&")


def decode(name: bytes) -> str:
    """The text of a name.

    Args:
        name: as the server wrote it.

    Raises:
        ValueError: it is not what ``encode`` makes of any text: not ASCII, a run without end or
            of no whole characters, an ASCII character in a run, two runs in a row.
    """
    if not all(0x20 <= byte <= 0x7E for byte in name) or b"&" in _RUN.sub(b"", name):
        raise ValueError("the name is not in modified UTF-7")
    text = "".join(
        part.decode("ascii") if number % 2 == 0 else _decode_run(part)
        for number, part in enumerate(_RUN.split(name))
    )
    if encode(text) != name:
        raise ValueError("the name has another form in modified UTF-7")
    return text


def _decode_run(run: bytes) -> str:
    if not run:
        return "&"
    padded = run.replace(b",", b"/") + b"=" * (-len(run) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("a run of the name is not in modified base64") from error


def encode(text: str) -> bytes:
    """A name as a server takes it.

    Raises:
        ValueError: half of a surrogate pair stands alone in it.
    """
    return _ENCODED.sub(_encode_run, text).encode("ascii")


def _encode_run(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    run = binascii.b2a_base64(found[0].encode("utf-16-be"), newline=False).rstrip(b"=")
    return f"&{run.replace(b'/', b',').decode('ascii')}-"
