"""Measures a command with all the processes it starts: time, processor time, memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
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
    """-1: it could not be started."""
    output: bytes
    errors: bytes
    peak: Peak
    """Zero unless it was watched."""


def measured(
    command: Sequence[object],
    *,
    processors: Collection[int] = (),
    given: Path | None = None,
    directory: Path | None = None,
    watch: bool = False,
) -> Measured:
    """Runs a command to its end, and until all processes it left behind have ended.

    Args:
        command: program and arguments.
        processors: numbers of those it may use; none: all.
        given: file for its standard input.
        directory: where it runs.
        watch: whether its memory is sampled, which costs some time.
    """
    os.sync()
    peak = Peak()
    # An installed program is compiled already.
    environment = {
        name: word for name, word in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        tempfile.NamedTemporaryFile() as report,
        Path(given or os.devnull).open("rb") as stdin,
    ):
        allowed = ",".join(map(str, processors or os.sched_getaffinity(0)))
        keeper = subprocess.Popen(
            [sys.executable, __file__, report.name, allowed, *map(str, command)],
            stdin=stdin,
            stdout=output,
            stderr=errors,
            cwd=directory,
            env=environment,
        )
        with _watched(keeper.pid, peak) if watch else contextlib.nullcontext():
            keeper.wait()
        told = report.read()
        output.seek(0)
        errors.seek(0)
        if keeper.returncode:
            told = json.dumps({"seconds": 0, "cpu": 0, "first": 0, "code": -1}).encode()
        return Measured(**json.loads(told), output=output.read(), errors=errors.read(), peak=peak)


def _keep(report: str, processors: str, *command: str) -> None:
    """What runs in the process above a command: it takes in orphans, and so counts all."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    os.sched_setaffinity(0, map(int, processors.split(",")))
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    every = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "seconds": seconds,
        "cpu": every.ru_utime + every.ru_stime,
        "first": usage.ru_utime + usage.ru_stime,
        "code": process.returncode,
    }
    Path(report).write_text(json.dumps(figures))


@contextlib.contextmanager
def _watched(process: int, peak: Peak) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            figures = [_memory(number) for number in tree(process) if number != process]
            peak.rss = max(peak.rss, sum(rss for rss, _ in figures))
            peak.pss = max(peak.pss, sum(pss for _, pss in figures))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def tree(root: int) -> Iterator[int]:
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


if __name__ == "__main__":
    _keep(*sys.argv[1:])
