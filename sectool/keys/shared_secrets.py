"""Shared keys and passwords that mail was encrypted with, from a table that a person wrote.

Rows of CSV: kind, identifier, secret. ``key`` takes the key identifier of
KEKRecipientInfo (RFC 5652 section 6.2.3) in hexadecimal, ``text:`` before plain
text, or nothing for a key that is tried on all; its secret is hexadecimal or
base64. ``password`` takes no identifier. Nothing of it enters an error text.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from sectool.cms import SharedSecrets
from sectool.errors import UsageError
from sectool.keys.passphrases import read_text

_KEY_SIZES = frozenset({16, 24, 32})
_HINT = "rows are: key,IDENTIFIER,SECRET in hexadecimal or base64; or password,,SECRET"
_TEXT = "text:"
_SEPARATOR = re.compile(r"^\s*\"?(?:key|password)\"?\s*([,;\t])", re.IGNORECASE | re.MULTILINE)


def load_shared_secrets(path: Path) -> SharedSecrets:
    """All secrets of a table.

    Raises:
        UsageError: it cannot be read, or a row makes no sense; the row is told by
            its number only.
    """
    named: dict[bytes, bytes] = {}
    unnamed: list[bytes] = []
    passwords: list[bytes] = []
    for number, row in enumerate(_rows(path), 1):
        kind = row[0].strip().lower()
        if not any(row) or kind.startswith("#"):
            continue
        identifier, secret = (row[1].strip(), ",".join(row[2:])) if len(row) > 2 else ("", "")
        if kind == "password" and secret and not identifier:
            passwords.append(secret.encode("utf-8", "surrogateescape"))
            continue
        key = _key(secret.strip()) if kind == "key" else None
        name = _identifier(identifier)
        if key is None or name is None:
            raise UsageError(f"row {number} of the table of secrets {path} is none", hint=_HINT)
        if not name:
            unnamed.append(key)
        elif named.setdefault(name, key) != key:
            raise UsageError(
                f"row {number} of the table of secrets {path} names a key for the second time",
                hint="leave the identifier empty to have both tried on everything",
            )
    if not (named or unnamed or passwords):
        raise UsageError(f"the table of secrets {path} is empty", hint=_HINT)
    return SharedSecrets(named, tuple(dict.fromkeys(passwords)), tuple(dict.fromkeys(unnamed)))


def _rows(path: Path) -> Iterator[list[str]]:
    text = read_text(path, "the table of secrets")
    # Spreadsheets write the separator of their country.
    separator = _SEPARATOR.search(text)
    try:
        delimiter = separator[1] if separator else ","
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield row or [""]
    except csv.Error as error:
        raise UsageError(f"the table of secrets {path} is not CSV", hint=_HINT) from error


def _key(text: str) -> bytes | None:
    for decode in (bytes.fromhex, _from_base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) in _KEY_SIZES:
            return key
    return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _identifier(text: str) -> bytes | None:
    if text.startswith(_TEXT):
        return text.removeprefix(_TEXT).encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
