"""Commands on a terminal of so many columns, and what stands on it afterwards."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path


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
    process = subprocess.Popen(
        [sys.executable, "-m", "sectool", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        env={**os.environ, "TERM": "dumb", **(environment or {})},
    )
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
    return process.wait(), said.decode().replace("\r\n", "\n")
