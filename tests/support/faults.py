"""Commands and functions in a process whose calls fail as the system would let them fail."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sectool import durable, sight
from sectool.cli.app import run_app
from tests.faults.server import Request

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "tests" / "faults" / "injector.c"

_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE_AND_READ_SEARCH = 0b110
_FOR_EVER = 1_000_000_000


@dataclass(frozen=True)
class Fault:
    """What happens to some of the calls of a process; see ``tests/faults/injector.c``."""

    calls: tuple[str, ...] = ()
    """Kinds of calls that count; empty: all."""
    act: str = "fail"
    """As the library names it; empty: nothing, all calls are told."""
    error: str = "EIO"
    first: int = 1
    last: int = 0
    """Number of the last call that goes wrong; 0: only the first does."""
    at: Path | None = None
    """The file or directory that the calls are about."""
    under: tuple[Path, ...] = ()
    """Where it is not one: what counts lies here."""
    disk: Path | None = None
    """Mount point, of a power cut."""

    def lines(self, trace: Path) -> str:
        """As the library takes it."""
        given = {
            "calls": ",".join(self.calls),
            "act": self.act,
            "error": getattr(errno, self.error),
            "first": self.first,
            "last": self.last or self.first,
            "at": self.at or "",
            "disk": self.disk or "",
            "under": ":".join(map(str, self.under)),
            "trace": trace,
        }
        return "\n".join(f"{name}={value}" for name, value in given.items() if value != "")


def fault(text: str, **more: Any) -> Fault:
    """A fault as the tables write it: ``sync=EIO@9``, ``open,create=EIO@3+``, ``write=EIO@4..8``.

    Without a number every call of these kinds fails.
    """
    calls, _, rest = text.partition("=")
    error, _, when = rest.partition("@")
    first, _, last = when.rstrip("+").partition("..")
    end = _FOR_EVER if when.endswith("+") or not when else int(last or first)
    return Fault(tuple(calls.split(",")), error=error, first=int(first or 1), last=end, **more)


@dataclass(frozen=True)
class Ended:
    """What a process said, and how it ended."""

    code: int
    """Minus the number of the signal that it died of."""
    out: str
    err: str
    met: list[Call]
    """The calls that went wrong, or all that count where none was to."""


@dataclass(frozen=True)
class Call:
    """One call that counts."""

    number: int
    kind: str
    name: str
    changes: bool
    """Whether it may change a disk."""
    process: int
    path: str

    @classmethod
    def parse(cls, line: str) -> Call:
        number, kind, name, changes, process, path = line.split(" ", 5)
        return cls(int(number), kind, name, changes == "1", int(process), path)


class FaultyProcess:
    """Forks of one process that is loaded with the library.

    Args:
        library: what is preloaded; None: it could not be made, and faults skip.
    """

    def __init__(self, library: Path | None) -> None:
        self._library = library
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ({} if library is None else {"LD_PRELOAD": str(library)}),
        )

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(20)
        self._server.stdout.close()

    def command(
        self,
        words: Sequence[object],
        place: Path,
        *,
        fault: Fault | None = None,
        in_workers: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> Ended:
        """Runs a command as its own process would, with everything loaded already.

        Args:
            words: after ``sectool``.
            place: directory for what it says.
            fault: that it meets.
            in_workers: whether its worker processes alone meet it.
            prepare: function of a module, called in the process before.
        """
        strings = [str(word) for word in words]
        return self.act(
            run_app, strings, place=place, fault=fault, in_workers=in_workers, prepare=prepare
        )

    def act(
        self,
        act: Callable[..., int | None],
        *arguments: object,
        place: Path,
        fault: Fault | None = None,
        in_workers: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> Ended:
        """The same for a function of a module, whose answer is the exit code."""
        if fault is not None and self._library is None:
            _missing("a C compiler that makes a library is not there")
        out, err, trace = (place / name for name in ("said", "told", "met"))
        trace.unlink(missing_ok=True)
        lines = "" if fault is None else fault.lines(trace)
        request = Request(act, arguments, out, err, lines, in_workers, prepare)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        pickle.dump(request, self._server.stdin)
        self._server.stdin.flush()
        code = pickle.load(self._server.stdout)
        met = trace.read_text(errors="surrogateescape").splitlines() if trace.exists() else []
        return Ended(code, out.read_text(), err.read_text(), [Call.parse(line) for line in met])


def compile_library(root: Path) -> Path | None:
    """The library, made once for each state of its source; None where it cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    library = root / f"injector-{digest}.so"
    if not library.exists():
        made = root / f"injector-{digest}.{os.getpid()}"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
        command += ["-fvisibility=hidden", "-o", str(made), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        made.replace(library)
    return library


def _missing(what: str) -> None:
    if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
        pytest.fail(what)
    pytest.skip(what)


# --- what is prepared in the process before ---------------------------------------------------


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


def without_syncs_of_files() -> None:
    """A planted bug: names become durable, and what stands in the files does not.

    What is read back past the cache is written out for that, which hides it most of the time.
    """
    durable.sync_file = lambda file: None
    os.posix_fadvise = lambda *_: None


def seeing_each_change() -> None:
    """As with a clock so fine that the number of calls depends on no moment."""
    sight.CLOCK_GRAIN = 0


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
