"""The locks of an mbox file.

As Debian's policy has it (11.6): first the lock of fcntl(2), then the file ``NAME.lock``. The first
is one of an open file description (``F_OFD_SETLK``), which other processes meet as they would
the older kind, and which this process does not lose where it closes the file elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sectool import durable
from sectool.directories import Directory, DirectoryEntry, is_regular
from sectool.errors import Locked
from sectool.locks import is_held
from sectool.mailbox.files.names import printable
from sectool.message import open_regular_file

WAIT = 10.0
"""Seconds that a delivery under way is waited for."""

STALE = 300.0
"""Age in seconds of a lock file that names no process, from which on it is nobody's."""

_STEP = 0.05
_FLOCK = struct.Struct("@hhqqi4x")
"""``struct flock`` of 64-bit Linux."""
_BUSY = frozenset({errno.EAGAIN, errno.EACCES})
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What a system answers that makes no files without names, as those of NFS."""
_LOCK_TEXT = 64
_LONGEST_COMMAND = 64


def lock_of(entry: DirectoryEntry) -> DirectoryEntry:
    """The file by which programs say that they hold an mbox."""
    return entry.directory / f"{entry.name}.lock"


@contextmanager
def locked(entry: DirectoryEntry) -> Iterator[int]:
    """Holds both locks of an mbox file, for which it waits a moment.

    Args:
        entry: the file.

    Yields:
        The descriptor of the open file that is locked, which has the name.

    Raises:
        Locked: somebody else holds one; the text says who.
        OSError: the file cannot be opened for writing, or the lock file cannot be made.
    """
    until = time.monotonic() + WAIT
    lock = lock_of(entry)
    while True:
        descriptor = entry.open(os.O_RDWR | os.O_NONBLOCK)
        try:
            holder = _lock_file(descriptor) or _make_lock(lock)
            if not holder and not _is_named(entry, descriptor):
                holder = "another program, which exchanged it"
                durable.unlink(lock, "mbox.unlock", missing_ok=True)
            if not holder:
                made = _file_of(lock)
                try:
                    yield descriptor
                finally:
                    # A program that took it for stale may have made its own.
                    if made is not None and made == _file_of(lock):
                        durable.unlink(lock, "mbox.unlock", missing_ok=True)
                return
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if time.monotonic() >= until:
            raise Locked(
                f"the mbox {printable(str(entry))} is locked by {holder}",
                hint="wait until that program has ended, or close it; then run the command again",
            )
        time.sleep(_STEP)


@contextmanager
def locked_beside(entry: DirectoryEntry) -> Iterator[None]:
    """Holds the lock of the kernel on a new file, which nobody else can have open yet.

    Args:
        entry: its name, under which it is opened; it may get another one meanwhile.

    Raises:
        Locked: somebody holds it all the same.
        OSError: it cannot be opened.
    """
    descriptor = entry.open(os.O_RDWR | os.O_NONBLOCK)
    try:
        if holder := _lock_file(descriptor):
            raise Locked(f"the new file {printable(str(entry))} is locked by {holder}")
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _lock_file(descriptor: int) -> str:
    """Takes the lock of the kernel; who holds it, empty where it is ours now."""
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno not in _BUSY:
            raise
    else:
        return ""
    return holder_of(descriptor) or "another program"


def holder_of(descriptor: int) -> str:
    """Which process holds a lock of fcntl(2) on an open file; empty: none."""
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))
    except OSError:
        return ""
    if kind == fcntl.F_UNLCK:
        return ""
    return process_named(process) if process > 0 else "another program"


def process_named(process: int) -> str:
    """A process, for a person."""
    command = ""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/comm").read_bytes()[:_LONGEST_COMMAND]
        command = printable(text.decode("utf-8", "replace").strip())
    return f"process {process}" + (f" ({command})" if command else "")


def _make_lock(lock: DirectoryEntry) -> str:
    """Makes the lock file; who holds it, empty where it is ours now."""
    for _ in range(2):
        try:
            _write_lock(lock)
        except FileExistsError:
            holder = _holder_of_lock_file(lock)
            if holder:
                return holder
            durable.unlink(lock, "mbox.stale-lock", missing_ok=True)
        else:
            return ""
    return "another program"


def _write_lock(lock: DirectoryEntry) -> None:
    """Makes the lock file at once with what it says, so that a kill leaves none that names nobody.

    Raises:
        FileExistsError: there is one.
    """
    text = b"%d\n" % os.getpid()
    try:
        unnamed = (lock.directory / ".").open(os.O_TMPFILE | os.O_WRONLY, 0o644)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        with durable.new_file(lock, mode=0o644) as stream:
            stream.write(text)
        return
    with os.fdopen(unnamed, "wb") as stream:
        os.fchmod(unnamed, 0o644)
        stream.write(text)
        stream.flush()
        durable.link(stream, lock, "mbox.lock")


def _holder_of_lock_file(lock: DirectoryEntry) -> str:
    """Who holds a lock file; empty: it is stale, since its process is no more, or it is old."""
    try:
        with open_regular_file(lock) as stream:
            text = stream.read(_LOCK_TEXT).split()
            age = time.time() - os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return ""
    except OSError:
        return f"whoever made {printable(str(lock))}"
    number = text[0] if text and text[0].isdigit() and len(text[0]) < len("1234567890") else b""
    if number and int(number) == os.getpid():
        return ""  # left by an error, since this process has the lock of the kernel
    if number and not is_alive(int(number)) and not _is_served(lock.directory):
        return ""
    if not number and age > STALE:
        return ""
    return process_named(int(number)) if number else f"whoever made {printable(str(lock))}"


def _file_of(lock: DirectoryEntry) -> tuple[int, int] | None:
    """What tells a lock file from every other; None: there is none."""
    try:
        status = lock.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def remove_stale_lock(entry: DirectoryEntry) -> None:
    """Removes the lock file of an mbox that is not there itself, unless somebody holds it."""
    if is_regular(lock_of(entry)) and not _holder_of_lock_file(lock_of(entry)):
        durable.unlink(lock_of(entry), "mbox.stale-lock", missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_served(directory: Directory) -> bool:
    """Whether the lock may be of a process of another machine."""
    return durable.on_network_file_system(directory.path)


def _is_named(entry: DirectoryEntry, descriptor: int) -> bool:
    """Whether an open file still has the name."""
    try:
        return os.path.samestat(entry.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# --- nobody writes to it any more ---------------------------------------------------------


def is_open_for_writing(descriptor: int) -> bool | None:
    """Whether any process has a file open for writing that is open here for reading.

    The kernel gives a lease for reading only where none has (fcntl(2)).

    Returns:
        None: it cannot be told, since the file system knows no leases or the file is another's.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno in _BUSY else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


class HeldFile:
    """Keeps other runs of this program from a mailbox of one file, whatever file has its name.

    Programs that deliver take locks of another kind (``flock`` and ``fcntl`` do not meet).

    Args:
        entry: the file.
    """

    def __init__(self, entry: DirectoryEntry) -> None:
        self._entry = entry
        self._held: list[int] = []

    def hold(self, entry: DirectoryEntry) -> None:
        """Holds one more file, which is about to get the name.

        Raises:
            Locked: another run holds it.
            OSError: it cannot be opened.
        """
        if entry is not self._entry and not self._held:
            return
        descriptor = entry.open(os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Locked(
                f"the mailbox {printable(str(self._entry))} is in use by another run",
                hint="wait until that run has ended, or stop it",
            ) from error
        self._held.append(descriptor)

    def __enter__(self) -> Self:
        self.hold(self._entry)
        return self

    def __exit__(self, *_: object) -> None:
        while self._held:
            with contextlib.suppress(OSError):
                os.close(self._held.pop())

    def is_held(self) -> bool:
        """Whether another run holds it."""
        return is_held(self._entry)
