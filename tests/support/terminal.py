"""Commands on a terminal of so many columns, and what stands on it afterwards."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Mapping
from pathlib import Path

from tests.support import crash


def screen(
    *words: object, columns: int, directory: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Runs a command to its end.

    Args:
        words: those after ``sectool``.
        columns: of the terminal.
        directory: to run it in.
        environment: beside that of this process.

    Returns:
        Its exit code and all it wrote, without the redrawing of bars.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))

    def prepare() -> None:
        nobody = os.open(os.devnull, os.O_RDONLY)
        for number, stream in enumerate((nobody, theirs, theirs)):
            os.dup2(stream, number)
        os.chdir(directory)
        os.environ.update({"TERM": "dumb", **(environment or {})})

    process = crash.start_command(words, prepare)
    os.close(theirs)
    said = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # as Linux says that nobody has the terminal open any more
            break
        if not more:
            break
        said += more
    os.close(ours)
    return crash.wait_for(process), said.decode().replace("\r\n", "\n")
