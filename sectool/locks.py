"""Who holds a job or a mailbox: kernel locks that die with their process.

A lock file is never removed: unlinking it while another process waits on it
would let two holders in. Its text says who holds it, for a person; only the
kernel's lock decides, so a stale text or a reused process id does no harm.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from sectool.directories import Directory, FilePath, open_at
from sectool.errors import Locked

DESCRIPTION_LIMIT = 512
"""Bytes of a lock file that are read and shown."""


_AT_ONCE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""No link is followed, and a FIFO in the place of a lock file must not hang the run."""

_HELD = (BlockingIOError, PermissionError)
"""What a lock that another process holds is told by; anything else is a fault of the disk."""


class _KernelLock:
    """A lock of the kernel on an open file, held until it is closed or the process ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._descriptor: int | None = None

    def _open(self) -> int:
        raise NotImplementedError

    def _holder(self, descriptor: int) -> str:
        raise NotImplementedError

    def _mark(self, descriptor: int) -> None:
        """What is done to the file once it is held."""

    def acquire(self) -> None:
        """Takes the lock at once.

        Raises:
            Locked: another run holds it; the text says who.
            OSError: the file cannot be opened.
        """
        descriptor = self._open()
        try:
            self._hold(descriptor)
            self._mark(descriptor)
        except BaseException:
            _close(descriptor)
            raise
        self._descriptor = descriptor

    def _hold(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except _HELD as error:
            holder = self._holder(descriptor)
            raise Locked(
                f"the {self._name} is in use{holder and f' by {holder}'}",
                hint="wait until that run has ended, or stop it",
            ) from error

    def release(self) -> None:
        """Gives the lock back; without effect when it is not held."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Lock(_KernelLock):
    """An exclusive lock on a file, whose text says who holds it.

    Args:
        path: the lock file; made 0600 when it is not there.
        what: what is locked, for the error text, such as ``job``.
        holder: who holds it, for the error text of the next run.
    """

    def __init__(self, path: Path, *, what: str, holder: str) -> None:
        super().__init__(what)
        self._path = path
        self._text = holder

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | _AT_ONCE, 0o600)

    def _holder(self, descriptor: int) -> str:
        text = os.pread(descriptor, DESCRIPTION_LIMIT, 0).decode("utf-8", "replace")
        return "".join(character for character in text if character.isprintable()).strip()

    def _mark(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{self._text}\n".encode("utf-8", "replace")[:DESCRIPTION_LIMIT])


def is_held(path: FilePath) -> bool:
    """Whether a process holds the lock on a file or directory; nobody is kept out by the question.

    Args:
        path: the lock file, or the directory that is locked.
    """
    try:
        descriptor = open_at(path, os.O_RDONLY | _AT_ONCE)
    except OSError:
        return False
    try:
        return bool(_process_holding(descriptor))
    except OSError:
        return False
    finally:
        _close(descriptor)


class DirectoryLock(_KernelLock):
    """An exclusive lock on a directory itself: nothing is written, no name appears.

    Programs that deliver mail do not ask for it, so none of them waits.

    Args:
        directory: what is locked.
        what: what to call it in the error text, such as ``mailbox``.
    """

    def __init__(self, directory: Directory, *, what: str) -> None:
        super().__init__(f"{what} {directory.path}")
        self._directory = directory

    def _open(self) -> int:
        # Open once more: that is what a lock is held by.
        return (self._directory / ".").open(os.O_RDONLY)

    def _holder(self, descriptor: int) -> str:
        return _process_holding(descriptor)


def _close(descriptor: int) -> None:
    # The lock is given back whatever the system says, and nothing was written that counts: an
    # error here would only hide the one that ends the run.
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _process_holding(descriptor: int) -> str:
    """Who holds the kernel lock, as ``/proc/locks`` tells; empty where it does not."""
    inode = str(os.fstat(descriptor).st_ino)
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
            return f"process {fields[4]}"
    return ""


def _lock(descriptor: int) -> None:
    try:
        import fcntl  # noqa: PLC0415  # not on Windows
    except ImportError:  # pragma: no cover
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
