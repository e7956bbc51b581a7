"""What the named values of a job, and the options of a phase, may hold: texts of one shape each.

All else that stands in a job log has a constraint of the schema.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

_HEX = re.compile(r"[0-9a-f]{64}")


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 64


def _is_moment(value: object) -> bool:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        # In UTC it may lie beyond the last year there is.
        return moment is not None and moment.tzinfo is not None and bool(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return False


def _list_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _row_of(*each: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(each)
        and all(fits(one) for fits, one in zip(each, value, strict=True))
    )


def _mapping_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _record_of(**members: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == members.keys()
        and all(fits(value[name]) for name, fits in members.items())
    )


def _is_option(value: object) -> bool:
    return _is_flag(value) or _is_text(value) or _list_of(_is_text)(value)


_is_recipient = _row_of(_is_text, _is_text, _is_text)
_is_old_certificate = _record_of(
    fingerprint=_is_digest,
    key=_is_digest,
    addresses=_list_of(_is_digest),
    not_before=_is_moment,
    not_after=_is_moment,
    is_for_mail=_is_flag,
    issuer=_is_text,
    serial_number=_is_text,
    file=_is_text,
)
_is_answer = _record_of(
    key=_is_recipient,
    file=_is_text,
    public_key=_is_digest,
    needed=_is_number,
    unclear=_is_number,
    given_up=_list_of(_is_text),
    mailbox=_is_text,
    messages=_is_number,
    folders=_is_number,
    at=_is_moment,
)


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
    "mailbox": lambda text: re.fullmatch(r"[a-z]+:[^\0]+", text) is not None,
    "shared": lambda text: text in {"yes", "no"},
    "owners": _words,
    "sealed-to": _words,
    "directory": _json(_row_of(_is_text, _is_number, _is_number)),
    "key_history": _json(
        _record_of(certificates=_list_of(_is_old_certificate), keys=_list_of(_is_digest))
    ),
    "old-keys": _json(_list_of(_is_answer), or_none=True),
    "old-key-names": _json(_mapping_of(_list_of(_is_recipient)), or_none=True),
}
"""Of the named values of a job those of which not any text will do."""

_are_options = _json(_mapping_of(_is_option), or_none=True)


def odd_values(connection: sqlite3.Connection) -> Iterator[str]:
    """Where a text stands that has not its shape."""
    for name, value in connection.execute("SELECT name, value FROM job"):
        if name in VALUES and not VALUES[name](value):
            yield f"the value {name}"
    for (options,) in connection.execute("SELECT options FROM phase"):
        if not _are_options(options):
            yield "phase.options"
