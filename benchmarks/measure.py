"""Measures a command with all the processes it starts: time, processor time, memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Peak:
    """Peaks of a process tree, in bytes."""

    rss: int = 0
    pss: int = 0


@dataclass(frozen=True)
class Measured:
    """What a command cost."""

    seconds: float
    """Until its first process ended."""
    cpu: float
    """Seconds of processor time, user and system, of all its processes."""
    first: float
    """Those of its first process, and of the processes that one waited for."""
    code: int
    output: bytes
    errors: bytes
    peak: Peak
    """Zero unless it was watched."""


def measured(
    command: Sequence[object],
    *,
    given: Path | None = None,
    directory: Path | None = None,
    watch: bool = False,
) -> Measured:
    """Runs a command to its end, and until all processes it left behind have ended.

    Args:
        command: program and arguments.
        given: file for its standard input.
        directory: where it runs.
        watch: whether its memory is sampled, which costs some time.
    """
    _adopt_orphans()
    os.sync()
    peak = Peak()
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        Path(given or os.devnull).open("rb") as stdin,
    ):
        before, start = _children(), time.monotonic()
        process = subprocess.Popen(
            [*map(str, command)],
            stdin=stdin,
            stdout=output,
            stderr=errors,
            cwd=directory,
            env=_environment(),
        )
        with _watched(process.pid, peak) if watch else contextlib.nullcontext():
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        cpu = _children() - before
        output.seek(0)
        errors.seek(0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        first = usage.ru_utime + usage.ru_stime
        return Measured(seconds, cpu, first, code, output.read(), errors.read(), peak)


def _environment() -> dict[str, str]:
    """As it is, but Python keeps what it compiled: an installed program is compiled already."""
    return {name: word for name, word in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _adopt_orphans() -> None:
    """Makes this process the parent of orphans below it.

    Whoever does not wait for its children leaves their processor time uncounted.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _children() -> float:
    """Seconds of processor time of all children that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def _watched(process: int, peak: Peak) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            figures = [_memory(number) for number in _tree(process)]
            peak.rss = max(peak.rss, sum(rss for rss, _ in figures))
            peak.pss = max(peak.pss, sum(pss for _, pss in figures))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _tree(root: int) -> Iterator[int]:
    """Process ids of a process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting.extend(children.get(process, ()))


def _memory(process: int) -> tuple[int, int]:
    """RSS and PSS in bytes."""
    rss = pss = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                rss = int(value.split()[0]) * 1024
            elif name == "Pss":
                pss = int(value.split()[0]) * 1024
    return rss, pss
