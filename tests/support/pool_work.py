"""Work for worker processes that does what workers of a bad day do; found there by its name."""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sectool.budget import Work, current
from sectool.crashpoints import VARIABLE
from sectool.errors import NoSpace


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
        "crash points": VARIABLE in os.environ,
        "process": os.getpid(),
        "server": os.getppid(),
        "standard error": str(Path("/proc/self/fd/2").readlink()),
    }
