"""What runs on this machine, and waiting until some of it has ended."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds; what is waited for takes a few hundredths, but where others are at work."""


@dataclass(frozen=True)
class Process:
    """A process that has not ended."""

    number: int
    name: str
    parent: int
    session: int


def running() -> Iterator[Process]:
    """All that run now."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            state, parent, _, session, *_ = rest.split()
            if state not in {"Z", "X"}:
                number, _, name = name.partition(" (")
                yield Process(int(number), name, int(parent), int(session))


def wait_until_none(chosen: Callable[[Process], bool], what: str) -> None:
    """Waits until no such process runs, twice in a row; fails where one stays.

    Once is not enough: processes are looked at one after the other, and one that was not there
    yet may have taken over from one that is gone.
    """
    end = time.monotonic() + PATIENCE
    while left := [process for _ in range(2) for process in running() if chosen(process)]:
        if time.monotonic() > end:
            pytest.fail(f"{what}: {left}")
        time.sleep(0.01)


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """Ends the leader of a session, and waits for all of it: nobody writes below it afterwards."""
    server.terminate()
    server.wait(PATIENCE)
    wait_until_none(lambda process: process.session == server.pid, "the server has left something")
