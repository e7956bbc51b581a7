"""Who holds a job or a mailbox: kernel locks that die with their process.

A lock file is never removed: unlinking it while another process waits on it
would let two holders in. Its text says who holds it, for a person; only the
kernel's lock decides, so a stale text or a reused process id does no harm.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from sectool.errors import Locked

DESCRIPTION_LIMIT = 512
"""Bytes of a lock file that are read and shown."""


_HELD = (BlockingIOError, PermissionError)
"""What a lock that another process holds is told by; anything else is a fault of the disk."""


class Lock:
    """An exclusive lock on a file, held from ``acquire`` to ``release`` or the process's end.

    Args:
        path: the lock file; made 0600 when it is not there.
        what: what is locked, for the error text, such as ``job``.
        holder: who holds it, for the error text of the next run.
    """

    def __init__(self, path: Path, *, what: str, holder: str) -> None:
        self._path = path
        self._what = what
        self._holder = holder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock at once.

        Raises:
            Locked: another run holds it; the text says who.
            OSError: the lock file cannot be made.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            self._hold(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _hold(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except _HELD as error:
            holder = _description(descriptor)
            raise Locked(
                f"the {self._what} is in use{holder and f' by {holder}'}",
                hint="wait until that run has ended, or stop it",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{self._holder}\n".encode("utf-8", "replace")[:DESCRIPTION_LIMIT])

    def release(self) -> None:
        """Gives the lock back; without effect when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
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


class DirectoryLock:
    """An exclusive lock on a directory itself: nothing is written, no name appears.

    Programs that deliver mail do not ask for it, so none of them waits.

    Args:
        directory: what is locked.
        what: what to call it in the error text, such as ``mailbox``.
    """

    def __init__(self, directory: Path, *, what: str) -> None:
        self._directory = directory
        self._what = what
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if os.name == "nt":  # pragma: no cover  # a directory cannot be opened there
            return self
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            self._hold(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def _hold(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except _HELD as error:
            holder = _holder(descriptor)
            raise Locked(
                f"the {self._what} {self._directory} is in use{holder and f' by {holder}'}",
                hint="wait until that run has ended, or stop it",
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
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


def _description(descriptor: int) -> str:
    text = os.pread(descriptor, DESCRIPTION_LIMIT, 0).decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable()).strip()


def _lock(descriptor: int) -> None:
    try:
        import fcntl  # noqa: PLC0415  # not on Windows
    except ImportError:  # pragma: no cover
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
