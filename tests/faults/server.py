"""A process that stands ready, everything loaded, and acts in forks of itself with a fault.

``LD_PRELOAD=injector.so python -m tests.faults.server``: takes pickled ``Request``s on its
standard input and answers each on its standard output with how the fork ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import pkgutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sectool
from sectool.cli.app import run_app

VARIABLE = "SECTOOL_FAULT"
"""Of the environment, which worker processes inherit."""

PATIENCE = 60
"""Seconds until a fork that does not end is ended."""


@dataclass(frozen=True)
class Request:
    """What a fork is to do."""

    act: Callable[..., int | None]
    """Function of a module."""
    arguments: tuple[Any, ...]
    out: Path
    err: Path
    fault: str
    """As ``injector.c`` takes it; empty: none."""
    in_workers: bool
    """Whether it is for the worker processes alone."""
    prepare: Callable[[], None] | None
    """Called before."""


def _carry_out(request: Request) -> None:
    """Never returns."""
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, request.out), (2, request.err)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.alarm(PATIENCE)
        if request.prepare is not None:
            request.prepare()
        if request.fault and not request.in_workers:
            ctypes.CDLL(None).fault_arm(request.fault.encode())
        elif request.fault:
            os.environ[VARIABLE] = request.fault
        code = request.act(*request.arguments) or 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _load_everything() -> None:
    for module in pkgutil.walk_packages(sectool.__path__, "sectool."):
        if not module.name.endswith(("__main__", ".forkserver")):
            importlib.import_module(module.name)
    # What is loaded by the first command alone.
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        run_app(["scan", os.devnull])


def main() -> None:
    """Serves until nobody asks any more."""
    _load_everything()
    gc.freeze()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.set_inheritable(requests.fileno(), False)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        child = os.fork()
        if not child:
            _carry_out(request)
        pickle.dump(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answers)
        answers.flush()


if __name__ == "__main__":
    # Requests name the class as a module of the tests has it.
    from tests.faults import server

    server.main()
