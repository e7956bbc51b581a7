"""Open directories, and names in them: what no exchange of a path can lead elsewhere.

A path is looked up anew by each call, and whoever owns a directory on it decides what it
leads to. An open directory stays the one that it was. So what lies in a place of somebody
else's is reached from one open directory to the next, a name at a time, and no link is
followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from sectool.values import dataclass

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class Directory:
    """An open directory; it is closed when nobody refers to it any more.

    Args:
        descriptor: of it, which belongs to this object from here on.
        path: what it was called, for a person alone.
    """

    __slots__ = ("descriptor", "path")

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def __reduce__(self) -> str:
        raise TypeError("an open directory is of one process, and closed once")

    @classmethod
    def at(cls, path: Path) -> Directory:
        """Opens an absolute path, a component at a time.

        Raises:
            OSError: it cannot be opened; ENOTDIR or ELOOP where a component is a link.
        """
        *names, last = path.parts[1:] or (".",)
        directory = cls(
            os.open(path.anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), Path(path.anchor)
        )
        for name in names:
            # Directories on the way need not be readable.
            directory = (directory / name).open_directory(os.O_PATH)
        return directory.child(last)

    def child(self, name: str) -> Directory:
        """Opens a directory in this one.

        Raises:
            OSError: it cannot be opened, or is a link.
        """
        return (self / name).open_directory()

    def __truediv__(self, name: str) -> DirectoryEntry:
        return DirectoryEntry(self, name)

    @contextmanager
    def scan(self) -> Iterator[Iterator[os.DirEntry[str]]]:
        """What lies in it, as ``os.scandir`` has it."""
        # Opened once more, since all who read one open directory share how far they are.
        descriptor = (self / ".").open(os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                yield entries
        finally:
            with contextlib.suppress(OSError):  # what was read was read
                os.close(descriptor)

    def status(self) -> os.stat_result:
        """Of the directory itself."""
        return os.fstat(self.descriptor)


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in an open directory, whatever it is given to; acts are called as those of a path."""

    directory: Directory
    name: str
    """One component."""

    def __str__(self) -> str:
        return str(self.directory.path / self.name)

    def lstat(self) -> os.stat_result:
        """Status of what has the name."""
        return self._told(os.lstat, dir_fd=self.directory.descriptor)

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Opens what has the name, a link itself never; the caller closes the descriptor."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        return self._told(os.open, flags, mode, dir_fd=self.directory.descriptor)

    def open_directory(self, flags: int = os.O_RDONLY) -> Directory:
        """Opens the directory that has the name."""
        # A FIFO is not waited for either.
        return Directory(self.open(flags | os.O_DIRECTORY), self.directory.path / self.name)

    def mkdir(self, mode: int) -> None:
        """Makes a directory."""
        self._told(os.mkdir, mode, dir_fd=self.directory.descriptor)

    def rmdir(self) -> None:
        """Removes a directory, which must be empty."""
        self._told(os.rmdir, dir_fd=self.directory.descriptor)

    def replace(self, target: DirectoryEntry) -> None:
        """Gives what has the name another one, in any directory of the file system."""
        here, there = self.directory.descriptor, target.directory.descriptor
        self._told(os.replace, target.name, src_dir_fd=here, dst_dir_fd=there)

    def exchange(self, other: DirectoryEntry) -> None:
        """Gives each of two names what the other one had, at once.

        Raises:
            OSError: as a rename does; EINVAL, ENOSYS or EOPNOTSUPP where the system or the file
                system cannot.
        """
        here, there = self.directory.descriptor, other.directory.descriptor
        if number := _exchange(here, os.fsencode(self.name), there, os.fsencode(other.name)):
            raise OSError(number, os.strerror(number), str(self), None, str(other))

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Removes the name."""
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self._told(os.unlink, dir_fd=self.directory.descriptor)

    def _told(
        self,
        act: Callable[Concatenate[str, Arguments], Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        """Does an act, whose error tells where it was."""
        try:
            return act(self.name, *arguments, **named)
        except OSError as error:
            error.filename = str(self)
            raise


def _exchange(here: int, name: bytes, there: int, other: bytes) -> int:
    """Number of the error; 0: none."""
    import ctypes  # noqa: PLC0415  # heavy; not for --help

    is_apple = sys.platform == "darwin"
    call = getattr(
        ctypes.CDLL(None, use_errno=True), "renameatx_np" if is_apple else "renameat2", None
    )
    if call is None:
        return errno.ENOSYS
    at_once = 2  # RENAME_EXCHANGE, and RENAME_SWAP on macOS
    return ctypes.get_errno() if call(here, name, there, other, at_once) else 0


FilePath: TypeAlias = Path | DirectoryEntry
"""A file in a place that nobody else can exchange, or a name in an open directory."""


def open_at(path: FilePath, flags: int, mode: int = 0o600) -> int:
    """Opens a file, never a link; the caller closes the descriptor.

    Raises:
        OSError: as ``open`` does.
    """
    if isinstance(path, DirectoryEntry):
        return path.open(flags, mode)
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def status_of_file(path: DirectoryEntry) -> os.stat_result | None:
    """Status of the regular file that has the name; None: none has.

    Raises:
        OSError: it cannot be told.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def is_regular(path: DirectoryEntry) -> bool:
    """Whether a regular file has the name.

    Raises:
        OSError: it cannot be told.
    """
    return status_of_file(path) is not None
