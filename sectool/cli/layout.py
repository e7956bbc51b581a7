"""Text in columns for a terminal of 80; knows nothing of what the text says."""

from __future__ import annotations

import itertools
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from sectool.outcome import RecipientKey

WIDTH = 80

LONGEST = 50 * WIDTH
"""Columns of a text that is broken into lines: names are made by strangers, too."""

NUMBERS = frozenset({"messages", "parts", "not done", "in clear", "days", "in sent mail"})
"""Titles of columns that stand right."""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, gives_way: int = 0
) -> Iterable[str]:
    """Lines of a table within 80 columns: one column gives way, numbers stand right."""
    widths = [max(columns_of(row[column]) for row in (head, *rows)) for column in range(len(head))]
    spare = WIDTH - sum(widths) - 2 * (len(widths) - 1)
    widths[gives_way] = max(10, widths[gives_way] + min(0, spare))
    for row in (head, *rows):
        cells = []
        for cell, title, width in zip(row, head, widths, strict=True):
            text = shorten(cell, width)
            padding = " " * (width - columns_of(text))
            cells.append(padding + text if title in NUMBERS else text + padding)
        yield "  ".join(cells).rstrip()


def wrapped(text: str, *, indent: int) -> Iterable[str]:
    """A text in lines of 80 columns, all but the first indented."""
    text = shorten(text, LONGEST)
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def fact(name: str, text: str) -> Iterable[str]:
    """A name and what there is to say of it, in columns."""
    return wrapped(f"  {name:8} {text}", indent=11)


def columns_of(text: str) -> int:
    """Columns a terminal needs: characters of East Asia are wide, accents stand on others."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_character, text))


def _columns_of_character(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Takes out the middle, since names differ at both ends."""
    if columns_of(text) <= width:
        return text
    front = _beginning(text, (width - 1) // 2)
    back = _beginning(text[::-1], width - 1 - columns_of(front))[::-1]
    return f"{front}…{back}"


def _beginning(text: str, width: int) -> str:
    """As many characters, from the first one on, as there is room for."""
    widths = itertools.accumulate(map(_columns_of_character, text))
    return text[: sum(1 for _ in itertools.takewhile(lambda columns: columns <= width, widths))]


def counted(count: int, noun: str) -> str:
    """A number and what it counts, in the right one of singular and plural."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size_text(size: float) -> str:
    """Bytes in the unit a person would use."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


# --- the keys that mail names as recipients -------------------------------------------------------


def key_name(key: RecipientKey) -> str:
    """One line for a person who knows the key."""
    if key.serial_number:
        return f"{key.issuer} serial {key.serial_number}"
    return f"subject key identifier {key.subject_key_identifier}"


def most_first(counts: Mapping[RecipientKey, int]) -> list[tuple[RecipientKey, int]]:
    """Keys with their counts, the largest first, then by issuer."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].issuer))
