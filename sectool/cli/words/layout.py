"""Text in columns as wide as the terminal is; knows nothing of what the text says.

In a pipe or a file there is no width: a line is as long as what it says, so that ``grep`` and
an editor find it whole.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from sectool.outcome import RecipientKey

_NARROWEST = 40
"""Columns below which no table would be read; narrower terminals break the lines themselves."""

_NARROWEST_CELL = 10

_USUAL = 80
"""Columns of a terminal that does not tell."""

_PADDED = 120
"""Columns that a cell is filled up to where there is no width."""

LONGEST = 4000
"""Columns of a text that is shown: names are made by strangers, too."""

_CELL_LINES = 4
"""Lines of a cell that gives way."""

_CELL_COLUMNS = 120
"""Columns of it that are shown in any case: of a key its issuer's end and all its serial number."""

NUMBERS = frozenset(
    {
        *("messages", "parts", "not done", "in clear", "days", "in sent mail"),
        *("exit", "mail", "done", "proven", "purged", "left"),
    }
)
"""Titles of columns that stand right."""


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that a stream is; None: it is none.

    Args:
        stream: None: standard output.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None or not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        columns = 0
    return max(_NARROWEST, columns or _USUAL)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, gives_way: Sequence[int] = (0,)
) -> Iterable[str]:
    """Lines of a table: numbers stand right, and some columns are broken where it is too wide.

    Nothing of a cell is cut but the middle of one that would need many lines.
    """
    every = [head, *rows]
    widths = [max(columns_of(row[column]) for row in every) for column in range(len(head))]
    room = width()
    if room is None:
        widths = [min(_PADDED, one) for one in widths]
    else:
        _narrow(widths, gives_way, room - 2 * (len(widths) - 1))
    for row in every:
        cells = [[cell] for cell in row]
        for column in gives_way if room is not None else ():
            cells[column] = _cell(row[column], widths[column])
        for line in itertools.zip_longest(*cells, fillvalue=""):
            yield "  ".join(map(_padded, line, head, widths)).rstrip()


def _narrow(widths: list[int], gives_way: Sequence[int], room: int) -> None:
    """Takes from the widest of these columns, again and again, until all of them have room."""
    while sum(widths) > room:
        widest = max(gives_way, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST_CELL:
            return
        widths[widest] -= 1


def _cell(text: str, columns: int) -> list[str]:
    return list(_lines(shorten(text, max(_CELL_LINES * columns, _CELL_COLUMNS)), columns)) or [""]


def _padded(cell: str, title: str, columns: int) -> str:
    padding = " " * (columns - columns_of(cell))
    return padding + cell if title in NUMBERS else cell + padding


def wrapped(
    text: str, *, indent: int, first: int = 0, stream: TextIO | None = None
) -> Iterable[str]:
    """A text in lines as wide as the terminal, all but the first indented.

    Args:
        text: what it says.
        indent: spaces before each further line.
        first: spaces before the first one.
        stream: where it goes; None: to standard output.
    """
    text = shorten(text, LONGEST)
    room = width(stream)
    if room is None:
        yield " " * first + text
        return
    for number, line in enumerate(_lines(text, room, first=first, indent=indent)):
        yield " " * (indent if number else first) + line


def _lines(text: str, columns: int, *, first: int = 0, indent: int = 0) -> Iterator[str]:
    """Breaks a text at spaces, and a word only where it is longer than a line."""
    line, room = "", columns - first
    for word in re.findall(" *[^ ]+", text):
        if columns_of(line + word) <= room:
            line += word
            continue
        rest = word
        if line and columns_of(word) <= columns - indent:
            yield line
            line, room, rest = "", columns - indent, word.lstrip(" ")
        elif line:
            part = _beginning(word, room - columns_of(line))
            yield (line + part).rstrip(" ")
            line, room, rest = "", columns - indent, word[len(part) :].lstrip(" ")
        while columns_of(rest) > room:
            part = _beginning(rest, max(2, room))
            yield part
            rest, room = rest[len(part) :], columns - indent
        line = rest
    if line:
        yield line


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


# --- the keys that mail names as recipients -------------------------------------------------------


def key_name(key: RecipientKey) -> str:
    """One line for a person who knows the key."""
    if key.serial_number:
        return f"{key.issuer} serial {key.serial_number}"
    return f"subject key identifier {key.subject_key_identifier}"


def most_first(counts: Mapping[RecipientKey, int]) -> list[tuple[RecipientKey, int]]:
    """Keys with their counts, the largest first, then by issuer."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].issuer))
