"""Named points at which a test can stop the process dead.

``SECTOOL_FAULT=crash@N`` kills the process with SIGKILL at the N-th point it
passes (counted from 1, over all names); ``crash@NAME`` and ``crash@NAME:N``
stop at the first or N-th passing of one name. ``trace@FILE`` appends the name
of every point to FILE instead and kills nothing: that is how a test learns
how many there are. Unset, which is always outside a test, a point is one
dictionary look-up.

Every call that changes a disk or a mailbox stands beside a point, so that the
states between any two of them can be visited.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "SECTOOL_FAULT"

_passed: Counter[str] = Counter()


def crashpoint(name: str) -> None:
    """Passes the point ``name`` (``room.act.when``, such as ``joblog.commit.before``)."""
    fault = os.environ.get(VARIABLE)
    if fault is None:
        return
    kind, _, argument = fault.partition("@")
    if kind == "trace":
        with Path(argument).open("a", encoding="ascii") as trace:
            trace.write(f"{name}\n")
    elif kind == "crash":
        _passed[name] += 1
        wanted, _, count = argument.partition(":")
        reached = _passed.total() if wanted.isdigit() else _passed[name] * (wanted == name)
        if reached == int(wanted if wanted.isdigit() else count or "1"):
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise ValueError(f"{VARIABLE} must be crash@N, crash@NAME[:N] or trace@FILE")
