"""Content-Type and Content-Disposition values as they occur (RFC 2045 section 5, RFC 2231).

Tolerates comments, missing quotes and semicolons, duplicates and any case. It
knows no particular media type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import unquote_to_bytes

from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.remembering import remembering
from sectool.values import dataclass

_MEDIA_TYPE = re.compile(rb"([!#$%&'*+.^_`{|}~0-9A-Za-z-]+)[ \t]*/[ \t]*([!#-'*+.^-~0-9A-Z-]+)")
_NAME = re.compile(rb"([^\x00- =;()\"]+)[ \t]*=[ \t]*")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)(?:"|$)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_UNQUOTED = re.compile(rb"[^;]*")
_SECTION = re.compile(rb"([^*]+)(?:\*([0-9]{1,4}))?(\*)?")
_COMMENT_TOKEN = re.compile(rb"[^()\\]+|\\.?|[()]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParameterizedValue:
    """A value with its parameters."""

    value: str
    """Lower case; for a Content-Type ``type/subtype``."""
    parameters: Mapping[str, bytes] = field(default_factory=dict)
    """By lower-case name; of duplicates the first."""

    @property
    def main_type(self) -> str:
        """What stands before the slash."""
        return self.value.partition("/")[0]


@remembering
def parse_content_type(value: bytes, limits: Limits = DEFAULT_LIMITS) -> ParameterizedValue | None:
    """A Content-Type; None where no ``type/subtype`` can be read from it."""
    start = _skip_filling(value, 0)
    match = _MEDIA_TYPE.match(value, start)
    if match is None:
        return None
    media_type = f"{match[1].decode('ascii')}/{match[2].decode('ascii')}".lower()
    return ParameterizedValue(media_type, _parameters(value, match.end(), limits))


@remembering
def parse_disposition(value: bytes, limits: Limits = DEFAULT_LIMITS) -> ParameterizedValue:
    """A Content-Disposition; the value is empty where none can be read."""
    start = _skip_filling(value, 0)
    end = start + len(_UNQUOTED.match(value, start)[0])  # type: ignore[index]  # always matches
    word = value[start:end].partition(b"=")
    # "filename=x" without a disposition before it is seen.
    if word[1]:
        return ParameterizedValue("", _parameters(value, start, limits))
    disposition = word[0].strip().decode("latin-1").lower()
    return ParameterizedValue(disposition, _parameters(value, end, limits))


def _parameters(value: bytes, position: int, limits: Limits) -> dict[str, bytes]:
    plain: dict[str, bytes] = {}
    sections: dict[str, dict[int, bytes]] = {}
    for _ in range(limits.parameters):
        position = _skip_filling(value, position)
        if position >= len(value):
            break
        match = _NAME.match(value, position)
        if match is None:
            # A word without a value: passed over.
            position = _next_parameter(value, position)
            continue
        text, position = _parameter_value(value, _skip_comments(value, match.end()), match[1])
        _note(plain, sections, match[1], text)
    for name, by_number in sections.items():
        plain.setdefault(name, b"".join(by_number[number] for number in sorted(by_number)))
    return plain


def _note(
    plain: dict[str, bytes], sections: dict[str, dict[int, bytes]], name: bytes, text: bytes
) -> None:
    """Files one parameter under its name, or a section of it (RFC 2231 section 3 and 4)."""
    match = _SECTION.fullmatch(name)
    if match is None or b"*" not in name:
        plain.setdefault(name.decode("latin-1").lower(), text)
        return
    number = int(match[2] or 0)
    if match[3]:
        # Only the first section names a character set.
        text = unquote_to_bytes(text.split(b"'", 2)[-1] if number == 0 else text)
    sections.setdefault(match[1].decode("latin-1").lower(), {}).setdefault(number, text)


def _parameter_value(value: bytes, position: int, name: bytes) -> tuple[bytes, int]:
    quoted = _QUOTED.match(value, position)
    if quoted is not None:
        return _ESCAPE.sub(rb"\1", quoted[1]), quoted.end()
    text: bytes = _UNQUOTED.match(value, position)[0]  # type: ignore[index]  # always matches
    if b"name" not in name.lower():
        # Only file names are written with blanks and without quotes.
        words = text.split(None, 1)
        word = words[0] if words else b""
        return word, position + text.find(word) + len(word)
    return text.strip(), position + len(text)


def _next_parameter(value: bytes, position: int) -> int:
    found = value.find(b";", position)
    return len(value) if found < 0 else found + 1


def _skip_filling(value: bytes, position: int) -> int:
    """Passes white space, semicolons and comments."""
    while position < len(value):
        if value[position] in b" \t\r\n;":
            position += 1
        elif value[position] == ord("("):
            position = _skip_comment(value, position)
        else:
            break
    return position


def _skip_comments(value: bytes, position: int) -> int:
    while value[position : position + 1] == b"(":
        position = _skip_comment(value, position)
        while value[position : position + 1] in {b" ", b"\t"}:
            position += 1
    return position


def _skip_comment(value: bytes, position: int) -> int:
    """Passes a comment, which may hold others (RFC 5322 section 3.2.2)."""
    depth = 0
    for token in _COMMENT_TOKEN.finditer(value, position):
        depth += (token[0] == b"(") - (token[0] == b")")
        if depth == 0:
            return token.end()
    return len(value)
