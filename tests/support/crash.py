"""Runs a job of sectool in a child process that is killed at a named crash point."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sectool import jobs
from sectool.crashpoints import VARIABLE


def _in_child(spec: jobs.JobSpec, fault: str) -> int:
    """Runs a specification in a fork of this process; answers its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    os.environ[VARIABLE] = fault
    code = 1
    try:
        jobs.run(spec)
        code = 0
    finally:
        os._exit(code)


def points(spec: jobs.JobSpec, trace: Path) -> list[str]:
    """Names of all crash points a run passes, in order; the run is carried out."""
    status = _in_child(spec, f"trace@{trace}")
    assert os.waitstatus_to_exitcode(status) == 0
    return trace.read_text(encoding="ascii").split()


def killed_at(spec: jobs.JobSpec, number: int) -> None:
    """Runs until the ``number``-th crash point (counted from 1), where the process dies."""
    status = _in_child(spec, f"crash@{number}")
    assert os.WIFSIGNALED(status), f"point {number} was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL
