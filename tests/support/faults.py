"""Commands run in a fork of this process, with faults that the system really answers."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sectool.cli.app import run_app

PATIENCE = 60.0
"""Seconds until what must happen has happened."""

_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE_AND_READ_SEARCH = 0b110


@dataclass(frozen=True)
class Ended:
    """What a command said."""

    code: int
    out: str
    err: str
    trace: str
    """What strace saw."""


def without_privileges() -> None:
    """Lets the rights of files hold for the superuser as well."""
    if os.geteuid() != 0:
        return
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert library.capget(header, sets) == 0
    sets[0] &= ~_DAC_OVERRIDE_AND_READ_SEARCH
    assert library.capset(header, sets) == 0


def run_command(
    words: Sequence[object],
    place: Path,
    *,
    inject: str = "",
    at: Path | None = None,
    prepare: Callable[[], None] | None = None,
) -> Ended:
    """Runs a command as its own process would, with everything loaded already.

    Args:
        words: after ``sectool``.
        place: directory for what it says.
        inject: a fault, as ``strace -e inject=`` takes it; empty: none.
        at: the file or directory that the calls are about; None: any.
        prepare: called in the process before.
    """
    out, err, trace = (place / name for name in ("said", "told", "strace"))
    child = os.fork()
    if not child:
        code = 99
        try:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            if inject:
                os.kill(os.getpid(), signal.SIGSTOP)
            if prepare is not None:
                prepare()
            code = run_app([str(word) for word in words])
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    if inject:
        trace.unlink(missing_ok=True)
        with _tracing(child, inject, at, trace):
            status = os.waitpid(child, 0)[1]
    else:
        status = os.waitpid(child, 0)[1]
    return Ended(
        os.waitstatus_to_exitcode(status),
        out.read_text(),
        err.read_text(),
        trace.read_text() if inject else "",
    )


def _tracing(child: int, inject: str, at: Path | None, trace: Path) -> subprocess.Popen[bytes]:
    os.waitpid(child, os.WUNTRACED)
    command = ["strace", "-qq", "-y", "-o", str(trace), "-p", str(child)]
    command += ["-e", f"trace={inject.partition(':')[0]}", "-e", f"inject={inject}"]
    tracer = subprocess.Popen(
        # By its path, or by its name in an open directory.
        [*command, *(() if at is None else ("-P", str(at), "-P", at.name))],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + PATIENCE
    while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
        assert tracer.poll() is None, "strace does not trace"
        assert time.monotonic() < limit
        time.sleep(0.002)
    os.kill(child, signal.SIGCONT)
    return tracer
