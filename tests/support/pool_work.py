"""Work for worker processes that does what workers of a bad day do; found there by its name."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sectool import crashpoints
from sectool.budget import Work, current
from sectool.errors import NoSpace

PR_GET_DUMPABLE = 3


def dumpable() -> int:
    """Whether this process leaves a core file and lets its user look into it."""
    return int(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))


INHERITED = {"dumpable": dumpable(), "core": resource.getrlimit(resource.RLIMIT_CORE)}
"""As the one that this process was forked from was: it is imported before anything is hardened."""


@dataclass(frozen=True)
class Task:
    """A number and what to do about it."""

    number: int
    deed: str = ""
    size: int = 1


def context(argument: object) -> object:
    if argument == "broken":
        raise NoSpace("no room for a context")
    return argument


def work(context: object, task: Task) -> tuple[int, object]:
    if task.deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.deed == "hang":
        time.sleep(3600)
    if task.deed == "fail":
        raise NoSpace("no room for the answer")
    return task.number, context


def spend(context: object, task: Task) -> int:
    """How much may be read again for one message, of which all is spent."""
    most = current().left(Work.READING)
    current().spend(Work.READING, most)
    return most


def about_the_worker(context: object, task: Task) -> dict[str, object]:
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "interrupts": signal.getsignal(signal.SIGINT),
        "crash points": bool(crashpoints._hooks),
        "inherited": INHERITED,
        "working directory first": "" in sys.path,
        "process": os.getpid(),
        "server": os.getppid(),
        "standard error": str(Path("/proc/self/fd/2").readlink()),
    }
