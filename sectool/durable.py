"""The only file that renames, links, unlinks and syncs.

Each act takes the name of its crash point, so that a test can stop the
process before and after every single change to a disk. What differs between
operating systems lives here and in ``locks``.

The rules, from measurements with power cuts on ext4 and XFS: a file is synced
before it is renamed, a directory is synced after a name in it changed, and
once a sync has failed neither the descriptor nor a second sync of the same
file is believed (the kernel reports a lost write once, then forgets it).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry, FilePath, open_at
from sectool.errors import (
    MessageError,
    NoSpace,
    ReadOnlyMailbox,
    RunError,
    SectoolError,
    reason_of,
    why_unread,
)
from sectool.message import COPY_BLOCK, digest_stream, open_regular_file
from sectool.sight import Sight
from sectool.values import dataclass

AnyPath = TypeVar("AnyPath", Path, DirectoryEntry)

SYNC_THREADS = 8
"""Syncs under way at once: journalling file systems commit them together."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

DISK = "see whether the disk or its cable fails, as the log of the system tells"
"""What to do about a failed read or write, as the beginning of a hint."""
_LIMIT = "raise the limit on open files (ulimit -n)"
_CAUSES = {
    errno.EIO: DISK,
    errno.ENXIO: DISK,
    errno.ESTALE: "see that the file server is there and the file system mounted",
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.ENOMEM: "free some memory",
}
"""What to do about an error, as the beginning of a hint."""

_PATHS = (str, bytes, os.PathLike)

_ROOM = 64 * 1024 * 1024
"""Bytes that a file must be able to grow by not to count as full."""

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs"})
"""Where kernel locks or syncs are not what they are on a local disk."""


def is_shortage(error: OSError) -> bool:
    """Whether descriptors ran out: that says nothing of the file, and others would fail as well."""
    return error.errno in {errno.EMFILE, errno.ENFILE}


def explain(
    error: OSError, what: str, *, denied: type[SectoolError] = ReadOnlyMailbox
) -> SectoolError:
    """The error of this package for an ``OSError`` met while doing ``what``.

    Args:
        error: as the system raised it.
        what: what was attempted, such as ``write the checkpoint``.
        denied: the error where this user may not: only of a mailbox it is its own class.
    """
    reason = reason_of(error)
    where = _names(error)
    if where and error.errno not in _NO_SPACE and where not in what:
        reason = f"{reason}: {where}"
    if error.errno in _NO_SPACE:
        return NoSpace(
            f"cannot {what}: {reason}",
            hint="free some space or raise the quota, then run the same command again",
        )
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return denied(
            f"cannot {what}: {reason}",
            hint="check the owner, the mode and the mount options, then run the same command again",
        )
    cause = _CAUSES.get(error.errno or 0, "see to the cause")
    return RunError(f"cannot {what}: {reason}", hint=f"{cause}, then run the same command again")


def explain_unforeseen(error: OSError) -> SectoolError:
    """The error of this package for one that nobody nearer to it explained.

    Args:
        error: as the system raised it; the path is told where it knows one.
    """
    return explain(error, f"use {_names(error) or 'a file or a pipe'}", denied=RunError)


def _names(error: OSError) -> str:
    """The paths that an error knows; empty for an open file."""
    names = [name for name in (error.filename, error.filename2) if name]
    return " or ".join(os.fsdecode(name) for name in names if isinstance(name, _PATHS))


@contextmanager
def explained(what: str, *, denied: type[SectoolError] = ReadOnlyMailbox) -> Iterator[None]:
    """Turns an ``OSError`` of the block into an error that says what failed; see ``explain``."""
    try:
        yield
    except OSError as error:
        raise explain(error, what, denied=denied) from error


@contextmanager
def new_file(path: FilePath, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new file for writing, unsynced; it must not exist. Removed if the block fails.

    Args:
        path: where; never follows a link.
        mode: exactly this mode, whatever the umask is.
    """
    descriptor = open_at(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o600)
    try:
        with os.fdopen(descriptor, "wb", COPY_BLOCK) as stream:
            os.fchmod(descriptor, mode)
            yield stream
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


@contextmanager
def new_output(
    path: Path, what: str, *, denied: type[SectoolError] = ReadOnlyMailbox
) -> Iterator[BinaryIO]:
    """As ``new_file``, for what is made of a message.

    Args:
        path: where; never follows a link.
        what: is attempted, such as ``write the checkpoint``.
        denied: as ``explain`` has it.

    Raises:
        SectoolError: it could not be written, as ``explain`` has it.
        MessageError: anything else could not be read meanwhile, which costs one message.
    """
    with explained(what, denied=denied), new_file(path) as stream:
        try:
            yield cast("BinaryIO", _Output(stream, what, denied))
        except OSError as error:
            raise MessageError(why_unread(error)) from error


class _Output:
    """A file of which errors of writing are told apart from those of reading something else."""

    def __init__(self, stream: BinaryIO, what: str, denied: type[SectoolError]) -> None:
        self._stream = stream
        self._what = what
        self._denied = denied

    def write(self, data: bytes, /) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            raise explain(error, self._what, denied=self._denied) from error

    def flush(self) -> None:
        with explained(self._what, denied=self._denied):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def sync_file(file: Path | BinaryIO) -> None:
    """Makes the bytes of one file durable.

    Args:
        file: open, or its path.

    Raises:
        OSError: they may not be; the file must be written anew, not synced again.
    """
    with open_regular_file(file) if isinstance(file, Path) else nullcontext(file) as stream:
        os.fsync(stream.fileno())


def sync_files(files: Iterable[Path | BinaryIO], point: str) -> None:
    """Makes the bytes of several files durable, several at a time.

    Raises:
        OSError: of the first that failed; then none of them counts as durable.
    """
    crashpoint(f"{point}.before")
    files = list(files)
    if len(files) == 1:
        sync_file(files[0])
    elif files:
        with ThreadPoolExecutor(min(SYNC_THREADS, len(files))) as threads:
            for _ in threads.map(sync_file, files):
                pass
    crashpoint(f"{point}.after")


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the disk holds of a file that was synced."""

    digest: str
    """SHA-256, lower-case hexadecimal; empty where it cannot be read."""
    sight: Sight | None = None
    """None where it cannot be read."""
    error: OSError | None = None
    """Why it cannot be read."""


def sync_and_read_back(files: Sequence[Path | BinaryIO], point: str) -> list[ReadBack]:
    """As ``sync_files``, and what the disk holds of each file then, as ``read_back_digest``."""
    crashpoint(f"{point}.before")
    read = [ReadBack("")] * len(files)
    threads = min(SYNC_THREADS, len(files))
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            shares = (files[first::threads] for first in range(threads))
            for first, share in enumerate(pool.map(_sync_and_read_back, shares)):
                read[first::threads] = share
    crashpoint(f"{point}.after")
    return read


def _sync_and_read_back(files: Sequence[Path | BinaryIO]) -> list[ReadBack]:
    return [_synced_and_read_back(file) for file in files]


def _synced_and_read_back(file: Path | BinaryIO) -> ReadBack:
    is_synced = False
    try:
        with open_regular_file(file) if isinstance(file, Path) else nullcontext(file) as stream:
            sync_file(stream)
            is_synced = True
            sight = Sight.now(os.fstat(stream.fileno()))
            return ReadBack(read_back_digest(stream), sight)
    except OSError as error:
        if not is_synced or is_shortage(error):
            raise
        return ReadBack("", error=error)


def sync_directories(directories: Iterable[Path | Directory], point: str) -> None:
    """Makes the names in several directories durable; each directory is synced once."""
    crashpoint(f"{point}.before")
    for directory in dict.fromkeys(directories):
        _sync_directory(directory)
    crashpoint(f"{point}.after")


def _sync_directory(directory: Path | Directory) -> None:
    if isinstance(directory, Directory):
        os.fsync(directory.descriptor)
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: AnyPath, target: AnyPath, point: str) -> None:
    """Renames within a file system; an existing ``target`` is replaced."""
    crashpoint(f"{point}.before")
    source.replace(target)
    crashpoint(f"{point}.after")


def exchange(entry: DirectoryEntry, other: DirectoryEntry, point: str) -> None:
    """Gives each of two names in a file system what the other one had, at once.

    Raises:
        OSError: as a rename does; EINVAL, ENOSYS or EOPNOTSUPP where the file system cannot.
    """
    crashpoint(f"{point}.before")
    entry.exchange(other)
    crashpoint(f"{point}.after")


def unlink(path: FilePath, point: str, *, missing_ok: bool = False) -> None:
    """Removes one name."""
    crashpoint(f"{point}.before")
    path.unlink(missing_ok=missing_ok)
    crashpoint(f"{point}.after")


def remove_directory(path: DirectoryEntry, point: str) -> None:
    """Removes a directory that is empty.

    Raises:
        OSError: as where it is not.
    """
    crashpoint(f"{point}.before")
    path.rmdir()
    crashpoint(f"{point}.after")


def link(source: BinaryIO, target: DirectoryEntry, point: str) -> None:
    """Gives an open file another name, which is not synced; it must not exist.

    Raises:
        OSError: as where the file system is another one, or has no links, or too many, or where
            ``fs.protected_hardlinks`` forbids it.
    """
    crashpoint(f"{point}.before")
    # Whatever its name leads to by now. Only with a directory the call follows that link.
    directory = target.directory.descriptor
    os.link(f"/proc/self/fd/{source.fileno()}", target.name, dst_dir_fd=directory)
    crashpoint(f"{point}.after")


def replace_file(path: Path, data: bytes, point: str, *, durable: bool = True) -> None:
    """Replaces a small file atomically, as ``replacing``, by these bytes."""
    with replacing(path, point, durable=durable) as stream:
        stream.write(data)


@contextmanager
def replacing(path: Path, point: str, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file for writing that takes the place of another atomically, once the block has ended.

    Args:
        path: the file; a new one is made 0600.
        point: name of the crash points.
        durable: False for a file that a reader may miss after a power cut.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    with new_file(temporary) as stream:
        yield stream
    if durable:
        sync_files([temporary], f"{point}.sync")
    rename(temporary, path, f"{point}.rename")
    if durable:
        sync_directories([path.parent], f"{point}.directory")


def read_back_digest(file: Path | BinaryIO) -> str:
    """SHA-256 of a synced file as the disk holds it, past the page cache where that can be.

    Args:
        file: open at its first byte, or its path.

    Returns:
        Lower-case hexadecimal.
    """
    with open_regular_file(file) if isinstance(file, Path) else nullcontext(file) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return digest_stream(stream)


def size_of(path: Path) -> int:
    """Bytes of a regular file; 0 where there is none, or where that cannot be told."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 0


def make_directory(path: Path) -> None:
    """Makes a directory 0700, and its parents, each durably; one that exists is kept as it is."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(0o700)
    _sync_directory(path.parent)


def space_error(path: Path) -> OSError | None:
    """What keeps a file from growing: a full disk, a quota, a limit on files; None: nothing.

    For those who learn of a failed write without the system's reason: a file
    beside it is written farther than that one goes, with a hole before. Farther,
    since what failed may have been undone already.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            size = path.stat().st_size if path.exists() else 0
            os.pwrite(descriptor, bytes(COPY_BLOCK), size + _ROOM)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error if error.errno in _NO_SPACE else None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def free_bytes(path: Path | int) -> int:
    """Bytes that this user can still write on the file system of a path or descriptor."""
    return shutil.disk_usage(path).free


def file_system(path: Path) -> str:
    """Type of the file system that holds ``path``, such as ``ext4``; empty where not known."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    return file_system_in(os.fsdecode(table), path.resolve())


def file_system_in(table: str, path: Path) -> str:
    """Type of the file system that holds a resolved path, by a ``mountinfo`` (proc(5))."""
    best, kind = -1, ""
    for line in filter(None, table.split("\n")):
        before, _, after = line.partition(" - ")
        name = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        mount_point = Path(name)
        depth = len(mount_point.parts)
        if path.is_relative_to(mount_point) and depth >= best:
            best, kind = depth, after.split(" ")[0]
    return kind


def on_network_file_system(path: Path) -> bool:
    """Whether ``path`` lies on a file system that another machine serves."""
    kind = file_system(path)
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.sshfs")
