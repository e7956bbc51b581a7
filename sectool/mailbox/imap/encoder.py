"""Writes commands (RFC 9051 section 9): what a caller gives never ends a string or a line."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[!-z|}~]+(?: [!-z|}~]+)*")
"""What a command of ours is made of beside strings: printable, and no ``{`` of a literal."""

_QUOTABLE = re.compile(rb"[\x20-\x7e]{0,1000}")


def encode(tag: str, words: Iterable[str | bytes]) -> list[bytes]:
    """One command in the pieces in which it is sent.

    Args:
        tag: of the command.
        words: text is sent as it is, bytes as a string that holds just these.

    Returns:
        Pieces; after each but the last the server has to ask for the next (RFC 9051
        section 4.3: a literal is announced and then awaited).

    Raises:
        ValueError: a word would end its line, or a string holds a NUL.
    """
    pieces = [tag.encode("ascii")]
    for word in words:
        if isinstance(word, str):
            if not _WORD.fullmatch(word):
                raise ValueError(f"{word!a} is no word of a command")
            pieces[-1] += b" " + word.encode("ascii")
        elif _QUOTABLE.fullmatch(word):
            pieces[-1] += b' "' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        elif b"\0" in word:
            raise ValueError("a string of a command holds a NUL")
        else:
            pieces[-1] += b" {%d}\r\n" % len(word)
            pieces.append(word)
    pieces[-1] += b"\r\n"
    return pieces


def uid_set(uids: Iterable[int]) -> str:
    """Ascending numbers as a sequence set (RFC 9051 section 9)."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)
