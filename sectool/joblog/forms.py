"""The form of each value of a job log: what a stranger, or a bad disk, cannot have put there.

Held when a log is opened, of every row, before any is believed: a digest becomes the name of a
file, a word a state, a number a sum. After that nobody but this process writes to the file.
Types and constraints are held here as well: ``PRAGMA quick_check`` does so in some tables only.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sectool.errors import JobLogDamaged
from sectool.joblog.records import IN_CLEAR, ON_TRIAL, PASSED_OVER, UNREAD, Purpose, Storage
from sectool.joblog.schema import LEGAL_STEPS
from sectool.outcome import Integrity, Proof, State

TEXT_LIMIT = 32 * 1024 * 1024
"""Bytes of one text: four times the largest header block that a Message-ID is taken from."""

_LARGEST = (1 << 63) - 1

_ROWS = (1 << 62) - 1
"""Largest number of a row."""

_LONGEST_PATH = 1024
"""Characters of the path of a part: sixty-four levels of a few digits each."""

_CONTENTS = 8
"""Contents in each other, with more than are looked into."""

_DIGITS = 64
_HEX = re.compile(r"[0-9a-f]{64}")


# --- what a column may hold, in SQL ----------------------------------------------------------


def _text(column: str) -> str:
    # Mail and certificates decide on most of it, so that all characters are among it.
    return f"length(CAST({column} AS BLOB)) <= {TEXT_LIMIT}"


def _text_or_null(column: str) -> str:
    return _text(column)


def _digest(column: str) -> str:
    # Two lengths: what SQLite calls the length of a text ends before a NUL, and so does GLOB.
    return (
        f"(length({column}) = {_DIGITS} AND length(CAST({column} AS BLOB)) = {_DIGITS}"
        f" AND {column} NOT GLOB '*[^0-9a-f]*')"
    )


def _digest_or_null(column: str) -> str:
    return _digest(column)


def _digest_or_none(column: str) -> str:
    return f"({column} = '' OR {_digest(column)})"


def _behind(column: str, prefix: str, condition: Callable[[str], str]) -> str:
    rest = f"substr({column}, {len(prefix) + 1})"
    return f"({column} GLOB '{prefix}*' AND {condition(rest)})"


def _three_digests(column: str) -> str:
    starts = [1 + number * (_DIGITS + 1) for number in range(3)]
    digests = [_digest(f"substr({column}, {start}, {_DIGITS})") for start in starts[:2]]
    colons = [f"substr({column}, {start - 1}, 1) = ':'" for start in starts[1:]]
    return f"({' AND '.join([*digests, *colons, _digest(f'substr({column}, {starts[2]})')])})"


def _copy(column: str) -> str:
    return f"({_digest(column)} OR {_three_digests(column)})"


def _stored_identity(column: str) -> str:
    in_clear, unread = _behind(column, IN_CLEAR, _copy), _behind(column, UNREAD, _digest)
    return f"({_digest(column)} OR {in_clear} OR {unread})"


def _named_identity(column: str) -> str:
    return f"({_stored_identity(column)} OR {_behind(column, PASSED_OVER, _digest)})"


def _of(characters: str, longest: int, shortest: int = 0) -> Callable[[str], str]:
    def condition(column: str) -> str:
        return (
            f"(length({column}) = length(CAST({column} AS BLOB))"
            f" AND length({column}) BETWEEN {shortest} AND {longest}"
            f" AND {column} NOT GLOB '*[^{characters}]*')"
        )

    return condition


def _tried(column: str) -> str:
    limited = (
        f"({_digest(f'substr({column}, 1, {_DIGITS})')}"
        f" AND substr({column}, {_DIGITS + 1}, 1) = ':'"
        f" AND {_of('0-9', 4, 1)(f'substr({column}, {_DIGITS + 2})')})"
    )
    return f"({column} IN ('', '{ON_TRIAL}') OR {_digest(column)} OR {limited})"


def _one_of(*words: str | StrEnum) -> Callable[[str], str]:
    listed = ", ".join(f"'{word}'" for word in words)
    return lambda column: f"{column} IN ({listed})"


def _between(least: int, most: int) -> Callable[[str], str]:
    return lambda column: f"{column} BETWEEN {least} AND {most}"


def _moment(column: str) -> str:
    return f"is_moment({column})"


def _object_identifier(column: str) -> str:
    return f"({_of('0-9.', TEXT_LIMIT, 3)(column)} AND is_object_identifier({column}))"


def _moment_or_none(column: str) -> str:
    return f"({column} = '' OR {_moment(column)})"


_row = _between(1, _ROWS)
_size = _between(0, _LARGEST)
_flag = _between(0, 1)
_version = _between(1, 1 << 31)
_NUMBERS = (_row, _size, _flag, _version)
"""All others are of texts."""
_part = _of("0-9.", _LONGEST_PATH)
_place = _of("0-9.~", _CONTENTS * _LONGEST_PATH)
"""Of what exists only decoded: each ``~`` leads into a content, such as an opaque signature's."""
_states = sorted(state for state in LEGAL_STEPS if state is not None)

COLUMNS: dict[str, dict[str, Callable[[str], str]]] = {
    "job": {"name": _text, "value": _text},
    "phase": {"name": _text, "state": _one_of("begun", "finished"), "options": _text},
    "message": {
        "message": _row,
        "identity": _stored_identity,
        "original_identity": _stored_identity,
        "state": _one_of(*_states),
        "reason": _text,
        "proof": _one_of("", *Proof),
        "folder": _text,
        "key": _text,
        "hint": _text,
        "size": _size,
        "year": _of("0-9", 5),
        "internal_date": _moment_or_none,
        "message_id": _text,
        "tried_with": _tried,
        "presence": _one_of("present", "changed", "gone", "lost"),
    },
    "part": {
        "message": _row,
        "path": _part,
        "content_digest": _digest,
        "content_encryption_algorithm": _text,
        "integrity": _one_of("", *Integrity),
        "signer": _digest_or_none,
        "voids_signature": _flag,
        "opens_to": _digest_or_none,
        "placement": _of("a-z-", 32),
    },
    "recipient": {
        "recipient": _row,
        "issuer": _text,
        "serial_number": _text,
        "subject_key_identifier": _text,
        "in_history": _flag,
    },
    "message_recipient": {"message": _row, "recipient": _row},
    "layer": {
        "message": _row,
        "part": _place,
        "path": _text,
        "content_digest": _digest_or_none,
        "reason": _text,
        "hides_recipients": _flag,
    },
    "layer_recipient": {"message": _row, "part": _place, "path": _text, "recipient": _row},
    "checkpoint": {
        "content_digest": _digest,
        "inner_sha256": _digest,
        "inner_size": _size,
        "content_type": _object_identifier,
        "integrity": _one_of(*Integrity),
        "storage": _one_of(*Storage),
        "written": _moment_or_none,
        "header_sha256": _digest_or_null,
    },
    "original": {
        "message": _row,
        "digest": _digest,
        "size": _size,
        "folder": _text,
        "internal_date": _moment,
    },
    "replacement": {
        "message": _row,
        "purpose": _one_of(*Purpose),
        "step": _one_of("announced", "placed"),
        "old_folder": _text,
        "old_key": _text,
        "old_revision": _text,
        "intended_folder": _text,
        "intended_where": _text,
        "new_folder": _text_or_null,
        "new_key": _text_or_null,
        "new_digest": _digest,
        "new_size": _size,
        "new_identity": _stored_identity,
        "new_opens_to": _text,
    },
    "abandoned": {
        "abandoned": _row,
        "message": _row,
        "purpose": _one_of(*Purpose),
        "is_superseded": _flag,
        "old_folder": _text,
        "old_key": _text,
        "old_revision": _text,
        "intended_folder": _text,
        "intended_where": _text,
        "new_folder": _text_or_null,
        "new_key": _text_or_null,
        "new_digest": _digest,
        "new_size": _size,
        "new_identity": _stored_identity,
        "new_opens_to": _text,
    },
    "purging": {"message": _row},
    "restarted": {"message": _row},
    "tombstone": {
        "kind": _one_of("checkpoint", "original"),
        "digest": _digest,
        "step": _one_of("intended", "removed"),
    },
    "migration": {
        "to_version": _version,
        "from_version": _version,
        "at": _moment,
    },
    "acknowledgement": {"identity": _named_identity, "state": _one_of("", *State)},
    "reader": {"content_digest": _digest, "address": _digest},
    "binding": {
        "issuer": _text,
        "serial_number": _text,
        "subject_key_identifier": _text,
        "public_key": _digest,
        "at": _moment,
    },
    "give_up": {
        "identity": _named_identity,
        "public_key": _digest,
        "reason": _text,
        "by_whom": _text,
        "at": _moment,
    },
    "step": {"step": _row, "at": _moment, "message": _row, "name": _text},
}
"""Of each column of each table the condition that every row has to meet, in SQL."""


# --- what a text may hold, where it is more than one value --------------------------------------


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 64


def is_moment(value: object) -> bool:
    """Whether a text is a time of a known zone, as ISO 8601 writes it."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        # In UTC it may lie beyond the last year there is.
        return moment is not None and moment.tzinfo is not None and bool(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return False


_OBJECT_IDENTIFIER = re.compile(r"(?:[01]\.[1-3]?[0-9]|2\.[0-9]{1,4000})(?:\.[0-9]{1,4000})*")
"""X.660: three roots, of which two have forty arcs. The longest number is one that Python reads."""


def is_object_identifier(value: object) -> bool:
    """Whether a text is an object identifier in dotted decimal."""
    return isinstance(value, str) and _OBJECT_IDENTIFIER.fullmatch(value) is not None


def _list_of(fits: Callable[[object], bool], length: int | None = None) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, list)
        and (length is None or len(value) == length)
        and all(map(fits, value))
    )


def _mapping_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _record_of(**members: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == members.keys()
        and all(fits(value[name]) for name, fits in members.items())
    )


def _is_place(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and _is_text(value[0])
        and all(map(_is_number, value[1:]))
    )


def _is_option(value: object) -> bool:
    return _is_flag(value) or _is_text(value) or _list_of(_is_text)(value)


_is_old_certificate = _record_of(
    fingerprint=_is_digest,
    key=_is_digest,
    addresses=_list_of(_is_digest),
    not_before=is_moment,
    not_after=is_moment,
    is_for_mail=_is_flag,
    issuer=_is_text,
    serial_number=_is_text,
    file=_is_text,
)
_is_answer = _record_of(
    key=_list_of(_is_text, 3),
    file=_is_text,
    public_key=_is_digest,
    needed=_is_number,
    unclear=_is_number,
    given_up=_list_of(_is_text),
    mailbox=_is_text,
    messages=_is_number,
    folders=_is_number,
    at=is_moment,
)
_is_opens_to = _mapping_of(_is_digest)


def _json(fits: Callable[[object], bool], *, or_none: bool = False) -> Callable[[str], bool]:
    def is_so(text: str) -> bool:
        if or_none and not text:
            return True
        try:
            return fits(json.loads(text))
        except (ValueError, RecursionError):
            return False

    return is_so


def _words(text: str) -> bool:
    return all(map(_is_digest, text.split()))


VALUES: dict[str, Callable[[str], bool]] = {
    # It begins the names of the files that new messages are written to.
    "job": lambda text: re.fullmatch("[0-9a-f-]{1,64}", text) is not None,
    "generation": lambda text: re.fullmatch("[0-9]{1,18}", text) is not None,
    "schema": _is_digest,
    "mailbox": lambda text: re.fullmatch(r"[a-z]+:[^\0]+", text) is not None,
    "shared": lambda text: text in {"yes", "no"},
    "owners": _words,
    "sealed-to": _words,
    "place": _json(_is_place),
    "key_history": _json(
        _record_of(certificates=_list_of(_is_old_certificate), keys=_list_of(_is_digest))
    ),
    "retire": _json(_list_of(_is_answer), or_none=True),
    "retired-names": _json(_mapping_of(_list_of(_list_of(_is_text, 3))), or_none=True),
}
"""Of the named values of a job those of which not any text will do."""

_is_opens_to_text = _json(_is_opens_to)
_is_options_text = _json(_mapping_of(_is_option), or_none=True)


# --- holding them -------------------------------------------------------------------------------


def check_forms(connection: sqlite3.Connection, path: Path) -> None:
    """Holds that every value of a job log of this version has its form.

    Args:
        connection: to it; its tables are those of the schema.
        path: where it lies, for the error.

    Raises:
        JobLogDamaged: one has not; it is told where.
        sqlite3.Error: one cannot be read.
    """
    dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    if dangling is not None:
        raise damaged(path, f"a row of {dangling[0]} refers to none of {dangling[2]}")
    for test in (is_moment, is_object_identifier):
        connection.create_function(test.__name__, 1, test, deterministic=True)
    for place in _faults(connection):
        raise damaged(path, f"{place} holds what cannot stand there")


def damaged(path: Path, reason: str) -> JobLogDamaged:
    """The error for a file that is not, or no longer, a job log."""
    return JobLogDamaged(
        f"the job log {path} is damaged: {reason}",
        hint="restore it from a backup; the checkpoints are readable without it",
    )


def _faults(connection: sqlite3.Connection) -> Iterator[str]:
    for table, columns in COLUMNS.items():
        conditions = {name: _condition(name, form) for name, form in columns.items()}
        if _any(connection, table, conditions.values()):
            for name, condition in conditions.items():
                if _any(connection, table, [condition]):
                    yield f"{table}.{name}"
    for name, value in connection.execute("SELECT name, value FROM job"):
        if name in VALUES and not VALUES[name](value):
            yield f"the value {name}"
    texts: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        ("replacement", "new_opens_to", _is_opens_to_text),
        ("abandoned", "new_opens_to", _is_opens_to_text),
        ("phase", "options", _is_options_text),
    )
    for table, column, fits in texts:
        rows: Iterable[tuple[Any]] = connection.execute(f"SELECT {column} FROM {table}")
        if not all(fits(text) for (text,) in rows):
            yield f"{table}.{column}"


_OR_NULL = (_digest_or_null, _text_or_null)


def _condition(column: str, form: Callable[[str], str]) -> str:
    kind = "integer" if form in _NUMBERS else "text"
    condition = f"(typeof({column}) = '{kind}' AND {form(column)})"
    return f"({column} IS NULL OR {condition})" if form in _OR_NULL else condition


def _any(connection: sqlite3.Connection, table: str, conditions: Iterable[str]) -> bool:
    sql = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE NOT ({' AND '.join(conditions)}))"
    return bool(connection.execute(sql).fetchone()[0])
