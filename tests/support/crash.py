"""Stops sectool dead at a named crash point, in a fork of this process or as a command.

A fault is written ``crash@N`` (die by SIGKILL at the N-th point that is passed, counted from 1
over all names), ``crash@NAME`` or ``crash@NAME:N`` (at the first or N-th passing of one name), or
``trace@FILE`` (append the name of every point to FILE and go on).
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sectool import jobs
from sectool.crashpoints import Hook, install


def hook_of(fault: str) -> Hook:
    """What a fault does at each point."""
    kind, _, argument = fault.partition("@")
    if kind == "trace":
        return _tracing(Path(argument))
    assert kind == "crash", fault
    wanted, _, count = argument.partition(":")
    return _dying(None, int(wanted)) if wanted.isdigit() else _dying(wanted, int(count or "1"))


def _tracing(trace: Path) -> Hook:
    def hook(name: str) -> None:
        with trace.open("a", encoding="ascii") as stream:
            stream.write(f"{name}\n")

    return hook


def _dying(wanted: str | None, number: int) -> Hook:
    passed: Counter[str] = Counter()

    def hook(name: str) -> None:
        passed[name] += 1
        if number == (passed.total() if wanted is None else passed[name] * (name == wanted)):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def command(fault: str) -> list[str]:
    """The words that start ``sectool`` as a process of its own, with a fault."""
    return [sys.executable, str(Path(__file__).with_name("faulty_sectool.py")), fault]


def in_child(act: Callable[[], object], fault: str) -> int:
    """Acts in a fork of this process, with a fault.

    Returns:
        Its exit code; minus the number of the signal that it died of.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        install(hook_of(fault))
        act()
        code = 0
    finally:
        os._exit(code)


def points(spec: jobs.JobSpec, trace: Path) -> list[str]:
    """Names of all crash points a run passes, in order; the run is carried out."""
    assert in_child(lambda: jobs.run(spec), f"trace@{trace}") == 0
    return trace.read_text(encoding="ascii").split()


def killed_at(spec: jobs.JobSpec, number: int) -> None:
    """Runs until the ``number``-th crash point (counted from 1), where the process dies."""
    code = in_child(lambda: jobs.run(spec), f"crash@{number}")
    assert code == -signal.SIGKILL, f"point {number} was not reached"
