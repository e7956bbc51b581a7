"""Names on a Maildir: letters of flags, names of folders.

Follows https://cr.yp.to/proto/maildir.html (``:2,`` and its letters), Dovecot's
``dovecot-keywords`` for the letters a to z, and RFC 3501 section 5.1.3 for modified
UTF-7. Knows no directory; touches no file.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import field

from sectool.mailbox.files.names import is_safe_level
from sectool.message import Flags
from sectool.values import dataclass

INFO = ":2,"
"""Begins the flags of a file name; what stands before it is the base name."""

SYSTEM_FLAGS = {
    "D": "draft",
    "F": "flagged",
    "P": "passed",
    "R": "answered",
    "S": "seen",
    "T": "deleted",
}

PLACEHOLDER = "keyword-"
"""Begins the name of a flag whose letter nothing explains, such as ``keyword-c``."""

KEYWORD_LIMIT = 26
"""Letters a to z."""

_SYSTEM_LETTERS = {name: letter for letter, name in SYSTEM_FLAGS.items()}
_LETTER = re.compile("[A-Za-z]")
_KEYWORD = re.compile(r"[!#$&'+,./0-9:;<=>?@A-Z\[^_`a-z|}~-]{1,255}")


def split_name(name: str) -> tuple[str, str]:
    """The base name of a file name and the letters of its flags."""
    base, _, info = name.partition(INFO)
    return base, info


def delivery_order(key: str) -> tuple[int, str]:
    """Sorts keys by the time they begin with, as numbers: nine digits until 2001."""
    return len(key.partition(".")[0]), key


# --- flags ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlagLetters:
    """Translates the letters of one folder's file names, both ways and without loss."""

    keywords: Mapping[str, str] = field(default_factory=dict)
    """Letter to keyword, as ``dovecot-keywords`` of the folder lists them."""

    @classmethod
    def parse(cls, table: bytes) -> FlagLetters:
        """Reads ``dovecot-keywords``: lines of a number from 0 to 25 and a keyword.

        A line that makes no sense, or says again what another said, is passed
        over; its letter gets a placeholder.
        """
        keywords: dict[str, str] = {}
        for line in table.decode("utf-8", "replace").splitlines():
            number, _, keyword = line.partition(" ")
            if not (number.isascii() and number.isdigit() and len(number) <= 2):
                continue
            if int(number) >= KEYWORD_LIMIT or not _KEYWORD.fullmatch(keyword):
                continue
            letter = chr(ord("a") + int(number))
            if keyword.startswith(PLACEHOLDER) or keyword in keywords.values():
                continue
            keywords.setdefault(letter, keyword)
        return cls(keywords)

    def flags(self, letters: str) -> Flags:
        """What the letters behind ``:2,`` say."""
        system, keywords = set(), set()
        for letter in _LETTER.findall(letters):
            if letter in SYSTEM_FLAGS:
                system.add(SYSTEM_FLAGS[letter])
            else:
                keywords.add(self.keywords.get(letter, f"{PLACEHOLDER}{letter}"))
        return Flags(frozenset(system), frozenset(keywords))

    def letters(self, flags: Flags) -> str:
        """The letters for ``flags``, in ASCII order as the Maildir format wants them.

        A keyword that has no letter in this folder is left out.
        """
        letters = {_SYSTEM_LETTERS[name] for name in flags.system if name in _SYSTEM_LETTERS}
        by_keyword = {keyword: letter for letter, keyword in self.keywords.items()}
        for keyword in flags.keywords:
            letter = by_keyword.get(keyword) or keyword.removeprefix(PLACEHOLDER)
            if _LETTER.fullmatch(letter):
                letters.add(letter)
        return "".join(sorted(letters))


# --- names of folders ------------------------------------------------------------


def decode_level(raw: str) -> str | None:
    """One level of a folder's name from modified UTF-7 (RFC 3501 section 5.1.3).

    Names that a server wrote as plain UTF-8 pass as they are.

    Returns:
        None where the encoding is broken or not the shortest, or where the
        result could be mistaken for a path or hurt a terminal.
    """
    parts = raw.split("&")
    decoded = [parts[0]]
    for part in parts[1:]:
        encoded, dash, rest = part.partition("-")
        text = _decode_run(encoded) if dash else None
        if text is None:
            return None
        decoded += [text, rest]
    level = "".join(decoded)
    return level if is_safe_level(level) else None


def _decode_run(encoded: str) -> str | None:
    if not encoded:
        return "&"
    if not encoded.isascii():
        return None
    padded = encoded.replace(",", "/") + "=" * (-len(encoded) % 4)
    try:
        text = base64.b64decode(padded, validate=True).decode("utf-16-be")
    except (binascii.Error, ValueError):
        return None
    shortest = _encode_run(text) == encoded and not any(" " <= letter <= "~" for letter in text)
    return text if shortest else None


def _encode_run(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
