"""How a command can end: the last lines of its ``--help``."""

from __future__ import annotations

from collections.abc import Iterator

from sectool.errors import SectoolError

_ALWAYS = {0, 1, 2, 130, 143}
_LOG = {13, 21, 22}
_RUN = {3, 10, 11, 14, 17, *_LOG}

EXIT_CODES: dict[str, set[int]] = {
    "scan": _ALWAYS | {3, 10, 12, 22},
    "keys": _ALWAYS | {10, 12, 22},
    "decrypt": _ALWAYS | _RUN | {12, 15, 16, 20},
    "encrypt": _ALWAYS | _RUN | {12, 15, 16, 20},
    "rewrap": _ALWAYS | _RUN | {12, 15, 20},
    "status": _ALWAYS | _LOG,
    "verify": _ALWAYS | _RUN | {12},
    "rollback": _ALWAYS | _RUN | {12, 16, 20},
    "purge": _ALWAYS | _RUN | {12},
    "demo": _ALWAYS | {17, 22},
}
"""Of each command, every exit code that it can end with."""


def ending(command: str, example: str) -> str:
    """The last lines of a command's help.

    Args:
        command: its name.
        example: a line that begins with ``Example: sectool``.

    Returns:
        Two paragraphs: the exit codes with their meaning, and the example.
    """
    meanings = {0: "all done", **dict(_summaries(SectoolError))}
    codes = "; ".join(f"{code} {meanings[code]}" for code in sorted(EXIT_CODES[command]))
    return f"Exit codes: {codes}.\n\n{example}"


def _summaries(kind: type[SectoolError]) -> Iterator[tuple[int, str]]:
    yield kind.exit_code, kind.summary
    for narrower in kind.__subclasses__():
        yield from _summaries(narrower)
