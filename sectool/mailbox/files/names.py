"""Names of files: shown to a person, and those that new messages are given.

Knows no directory; touches no file.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from urllib.parse import unquote

HOST_LIMIT = 64
"""Characters of the host that go into a unique name; a file name holds 255 bytes."""

_ANNOUNCED = re.compile(
    r"[0-9]{1,20}\.M[0-9]{1,6}P[0-9]{1,10}Q[0-9]{1,20}R[0-9a-f]{16}\.[A-Za-z0-9._\\-]{1,80},S=[0-9]{1,20}"
)
_COUNTER = itertools.count(1)


def printable(name: str) -> str:
    """A file name as text that any log or database takes; different names stay different.

    What is not printable, not UTF-8, or a percent sign becomes ``%`` and two
    hexadecimal digits for each byte.
    """
    if "%" not in name and name.isprintable():
        return name
    return "".join(map(_escape, name))


def _escape(character: str) -> str:
    if character != "%" and character.isprintable():
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def as_named(text: str) -> str:
    """The file name that ``printable`` made ``text`` of."""
    return unquote(text, errors="surrogateescape")


def is_message_name(name: str) -> bool:
    """Whether a message of a folder can have this name: one component without a leading dot."""
    return bool(name) and name[0] != "." and not {"/", "\0"} & set(name)


# --- unique names ------------------------------------------------------------


def unique_name(size: int) -> str:
    """A base name that no other delivery chooses.

    Names sort in the order they were made: Dovecot numbers new files by time.
    Carries ``S=``, which Dovecot and Courier believe as the size in bytes, and
    no ``W=``, which they would compare with a count of their own.
    """
    seconds, microseconds = divmod(_CLOCK.next(), 10**6)
    moment = f"{seconds}.M{microseconds:06}"
    left = f"{moment}P{os.getpid()}Q{next(_COUNTER)}R{os.urandom(8).hex()}"
    return f"{left}.{_host()},S={size}"


class _Clock:
    """Microseconds since 1970 that never stand still, whatever the system's clock does."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


_CLOCK = _Clock()


def is_unique_name(name: str) -> bool:
    """Whether ``unique_name`` can have made this: nothing else is ever made into a path."""
    return _ANNOUNCED.fullmatch(name) is not None


def _host() -> str:
    host = socket.gethostname() or "localhost"
    escaped = (
        character if re.fullmatch(r"[A-Za-z0-9._-]", character) else _octal(character)
        for character in host
    )
    return "".join(escaped)[:HOST_LIMIT]


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "replace"))


# --- levels of folders ----------------------------------------------------------


def safe_level(raw: str) -> str:
    """A level whose encoding is broken, as it stands on the disk, made safe to show and log."""
    shown = printable(raw)
    if is_safe_level(shown) and ".." not in shown:
        return shown
    return shown.replace(".", "%2E") or "%"


def is_safe_level(level: str) -> bool:
    """Whether a level can be shown and is taken for no path."""
    return level not in {"", ".", ".."} and "/" not in level and level.isprintable()
