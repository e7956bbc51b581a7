"""Opens key files; as root only what nobody but their owner can have led it to.

Root may read what the owner of a key directory may not. A link of theirs, or a second name of
somebody else's file, would lend them that right. So a way is gone a name at a time, from one
open directory to the next, and what is judged is what was opened: an exchange meanwhile, by
whomever, changes nothing.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.errors import reason_of
from sectool.keys import limits
from sectool.keys.problems import KeyFileError, KeyProblem, ProblemKind, over_limit
from sectool.keys.specification import KeySpecification
from sectool.keys.token_uri import parse_token_uri
from sectool.message import open_regular_file
from sectool.trust import MAXIMUM_LINKS, Trust, components, person
from sectool.values import dataclass

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Not blocking: a FIFO in the place of a file must not hang."""


def exposed_secrets(specification: KeySpecification, trust: Trust) -> Iterator[KeyProblem]:
    """Files with passphrases, secrets or PINs that others can read; they are used all the same.

    Args:
        specification: names them.
        trust: whose group may read them.
    """
    sources = (parse_token_uri(text).pin_source for text in specification.tokens)
    named = (
        specification.passphrase_file,
        specification.passphrases,
        specification.secrets,
        specification.pin_file,
        *(Path(source) for source in sources if source is not None),
    )
    for path in dict.fromkeys(path for path in named if path is not None):
        if problem := exposure(path, trust):
            yield problem


def exposure(path: Path, trust: Trust) -> KeyProblem | None:
    """That others can read a file with a secret; None: nobody else can, or it is no file."""
    found = trust.exposure(path)
    if not found:
        return None
    hint = f"keep it to yourself: chmod 600 {shlex.quote(str(path))}"
    if found.startswith("it belongs"):
        hint = "keep the secret in a file of your own"
    return KeyProblem(path, found, hint, ProblemKind.EXPOSED, withholds_key=False)


class Misled(KeyFileError):
    """Somebody could have led root to a key of another's."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"root does not use it: {what}",
            kind=ProblemKind.MISLEADING,
            hint="name the file itself, of the owner of its directory, or a copy in one of root's",
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """A directory on a way."""

    descriptor: int
    path: Path
    user: int = 0
    """Whose all on the way is from here on; 0: it is root's so far."""
    is_sound: bool = True
    """Whether nobody but root could have exchanged it."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file or a directory of them, open."""

    descriptor: int
    user: int
    """Whose all on the way is; 0: root's."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(os.fstat(self.descriptor).st_mode)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for each name of a file."""
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino

    def read(self) -> bytes:
        """All bytes.

        Raises:
            KeyFileError: it is no regular file, too large, or cannot be read.
        """
        with _told():
            if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            with os.fdopen(os.dup(self.descriptor), "rb") as stream:
                return _within_limit(stream)


def read_file(path: Path) -> bytes:
    """The bytes of a file from which no private key is used, whoever owns it.

    Raises:
        KeyFileError: it cannot be read or is too large.
    """
    with _told(), open_regular_file(path) as stream:
        return _within_limit(stream)


def _within_limit(stream: BinaryIO) -> bytes:
    raw = stream.read(limits.MAXIMUM_FILE_BYTES + 1)
    if len(raw) > limits.MAXIMUM_FILE_BYTES:
        raise over_limit(f"the file is larger than {limits.MAXIMUM_FILE_BYTES} bytes")
    return raw


@contextmanager
def open_key_file(path: Path, trust: Trust) -> Iterator[KeyFile]:
    """A file or directory that a person named.

    Links are followed. By root they are only where link and directory are root's, and so are all
    directories before, and nobody else may write to them. From the first directory of a user's
    on, all on the way has to be that user's.

    Raises:
        Misled: somebody could have led root to what is another's.
        KeyFileError: it cannot be opened.
    """
    with _told(), ExitStack() as stack:
        as_root = os.geteuid() == 0
        file = _Way(trust, stack).follow(path) if as_root else KeyFile(os.open(path, _READ), 0)
        stack.callback(os.close, file.descriptor)
        opened = stack.pop_all()
    with opened:
        yield file


def key_files_in(
    directory: KeyFile, path: Path, trust: Trust, depth: int = 0
) -> Iterator[tuple[Path, KeyFile | KeyFileError]]:
    """Regular files below an open directory in a stable order; links are not followed.

    Args:
        directory: from ``open_key_file``.
        path: what it is called.
        trust: who may write to directories of root's.
        depth: levels above it.

    Yields:
        Path, and the open file or why it is left out; closed when the next one is asked for.
    """
    try:
        with _told("the directory"), os.scandir(directory.descriptor) as entries:
            kinds = {entry.name: _kind(entry) for entry in entries}
    except KeyFileError as error:
        yield path, error
        return
    step = _Step(directory.descriptor, path, directory.user)
    for name in sorted(name for name, kind in kinds.items() if kind == stat.S_IFREG):
        yield from _opened(step, name, trust)
    for name in sorted(name for name, kind in kinds.items() if kind == stat.S_IFDIR):
        for found, file in _opened(step, name, trust):
            if isinstance(file, KeyFileError):
                yield found, file
            elif depth == limits.MAXIMUM_DIRECTORY_DEPTH:
                yield found, over_limit(f"more than {depth} levels of directories")
            else:
                yield from key_files_in(file, found, trust, depth + 1)


def _kind(entry: os.DirEntry[str]) -> int:
    """Of a file; a regular one where nothing is known, since opening it tells why."""
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return stat.S_IFREG


def _opened(step: _Step, name: str, trust: Trust) -> Iterator[tuple[Path, KeyFile | KeyFileError]]:
    try:
        with _told():
            file = _open_in(step, name, trust)
    except KeyFileError as error:
        yield step.path / name, error
        return
    try:
        yield step.path / name, file
    finally:
        os.close(file.descriptor)


def _open_in(step: _Step, name: str, trust: Trust) -> KeyFile:
    """Opens a file or directory in an open one; by root it has to be of the same user."""
    descriptor = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=step.descriptor)
    try:
        status, around = os.fstat(descriptor), os.fstat(step.descriptor)
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_directory and not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if os.geteuid() == 0:
            user = step.user or (0 if is_directory else around.st_uid)
            if status.st_uid != user and (user or not is_directory):
                raise Misled(_of_another(status.st_uid, user))
            # Root's own file, which somebody gave a second name.
            shares = status.st_nlink > 1 and not is_directory
            if shares and trust.is_writable_by_others(step.descriptor, around):
                raise Misled("all may write to its directory, and it has another name elsewhere")
    except BaseException:
        os.close(descriptor)
        raise
    return KeyFile(descriptor, step.user or (status.st_uid if is_directory else 0))


def _of_another(owner: int, user: int) -> str:
    return f"it belongs to {person(owner)}, and its directory to {person(user)}"


class _Way:
    """A path that root goes, a name at a time.

    Args:
        trust: who may write to directories of root's.
        stack: closes the directories.
    """

    def __init__(self, trust: Trust, stack: ExitStack) -> None:
        self._trust = trust
        self._stack = stack
        self._links = 0
        self._steps = [_Step(self._held(os.open("/", os.O_PATH | os.O_DIRECTORY)), Path("/"))]

    def _held(self, descriptor: int) -> int:
        self._stack.callback(os.close, descriptor)
        return descriptor

    def follow(self, path: Path) -> KeyFile:
        """Opens what lies at the end of a path."""
        names = deque(components(path if path.is_absolute() else Path.cwd() / path))
        while names:
            name, step = names.popleft(), self._steps[-1]
            if name == "..":
                del self._steps[max(1, len(self._steps) - 1) :]
                continue
            entry = self._held(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=step.descriptor))
            status = os.fstat(entry)
            is_sound = step.is_sound and self._is_sound(step.descriptor)
            if stat.S_ISLNK(status.st_mode):
                names.extendleft(reversed(self._target(step.path / name, entry, is_sound)))
            elif stat.S_ISDIR(status.st_mode):
                if step.user and status.st_uid != step.user:
                    raise Misled(_of_another(status.st_uid, step.user))
                user = step.user or status.st_uid
                self._steps.append(_Step(entry, step.path / name, user, is_sound))
            elif names:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            else:
                return _open_in(step, name, self._trust)
        last = self._steps[-1]
        return KeyFile(os.open(".", _READ, dir_fd=last.descriptor), last.user)

    def _target(self, path: Path, entry: int, is_sound: bool) -> list[str]:
        """The names that a link stands for."""
        self._links += 1
        if self._links > MAXIMUM_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not is_sound or os.fstat(entry).st_uid:
            raise Misled(f"{path} is a link that somebody else could have made")
        target = Path(os.readlink("", dir_fd=entry))
        if target.is_absolute():
            del self._steps[1:]
        return components(target)

    def _is_sound(self, directory: int) -> bool:
        """Whether only root can exchange what is root's in a directory."""
        status = os.fstat(directory)
        if status.st_uid:
            return False
        if status.st_mode & stat.S_ISVTX:
            return True
        return not self._trust.is_writable_by_others(directory, status)


@contextmanager
def _told(what: str = "the file") -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and durable.is_shortage(error):
            raise durable.explain(error, "read the key files") from error
        reason = reason_of(error) if isinstance(error, OSError) else "no such name"
        raise KeyFileError(
            f"{what} cannot be read: {reason}", kind=ProblemKind.UNREADABLE
        ) from error
