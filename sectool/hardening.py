"""What a process that sees keys and plaintext may not give away, nor one it starts (G5, G6, G9)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import util

SECRET_VARIABLES = frozenset({"SECTOOL_PASSPHRASE", "SECTOOL_PIN", "SECTOOL_IMAP_PASSWORD"})
"""What may stand in the environment of a command, and is nobody else's."""


INTERRUPTS = tuple(number for number in signal.Signals if number.name in {"SIGINT", "SIGHUP"})
"""What a terminal sends to all processes of a command: their parent alone decides what it means."""


def ignore_interrupts() -> None:
    """Makes this process, and those that it starts, deaf to what a terminal sends."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def harden(*, memory: int | None = None) -> None:
    """No core file, no debugger of the same user, a bound on memory, children on their own.

    (G5, G6, G9.)

    Args:
        memory: bytes of address space; None: as it is.
    """
    isolate_children()
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ImportError:  # pragma: no cover
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    _not_dumpable()


def _not_dumpable() -> None:
    import ctypes  # noqa: PLC0415  # heavy; not for --help

    if sys.platform == "linux":
        prctl_set_dumpable = 4
        ctypes.CDLL(None, use_errno=True).prctl(prctl_set_dumpable, 0, 0, 0, 0)


def isolate_children() -> None:
    """Whatever ``multiprocessing`` starts from now on is started by ``_start`` (G9).

    It has no setting for any of that, and starts some of its processes by itself: the
    tracker at the first lock, and the server once more where somebody killed it.
    """
    util.spawnv_passfds = _start  # type: ignore[assignment]  # a path may be text as well


def _start(path: bytes | str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Starts an interpreter that is on its own; in the place of ``util.spawnv_passfds``.

    ``python -c`` takes modules from the working directory first, which may belong
    to anybody: hence ``-P``, and another directory. It gets no secret, no other descriptor
    and no voice: its last words could hold plaintext.

    Args:
        path: of the interpreter.
        arguments: all of them, the name of the program first.
        descriptors: that it needs; the standard ones are never among them.

    Returns:
        Its process number. Whoever asked waits for it.
    """
    process = subprocess.Popen(  # noqa: S603  # the interpreter that runs this
        [path, "-P", *arguments[1:]],
        cwd="/",
        env=environment_for_others(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor for descriptor in descriptors if descriptor > 2],
    )
    # Else the end of it would be collected here, and whoever asked would wait in vain.
    process.returncode = 0
    return process.pid


def environment_for_others() -> dict[str, str]:
    """The environment for a program or process that this one starts (G9).

    Without the secrets that were meant for this one, and without what makes ``PATH``
    mean the working directory, which may belong to anybody.
    """
    environment = {
        name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES
    }
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    absolute = [folder for folder in folders if os.path.isabs(folder)]  # noqa: PTH117
    environment["PATH"] = os.pathsep.join(absolute) or os.defpath
    return environment


# --- secrets -------------------------------------------------------------------------


_handing_over: ContextVar[bool] = ContextVar("handing_over", default=False)


class Secret:
    """A text that is shown nowhere, and pickled only while a worker process is given it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        if not _handing_over.get():
            raise TypeError("a secret travels by the argument of a worker process alone")
        return Secret, (self._text,)


@contextmanager
def handing_over() -> Iterator[None]:
    """Secrets may be pickled meanwhile: what comes of it goes to a new process, by no file."""
    token = _handing_over.set(True)
    try:
        yield
    finally:
        _handing_over.reset(token)
