"""Finds the folders of a Maildir: Maildir++ and Dovecot's nested layout (``LAYOUT=fs``).

The table from folder name to directory made here is the only way from a name
to a path: a name given from outside is looked up, never joined to a path.
Links are not followed; what is passed over is told.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sectool import durable
from sectool.errors import MailboxError, SectoolError, reason_of
from sectool.mailbox.maildir.names import decode_level, printable, safe_level

INBOX = "INBOX"
"""Name of the folder that is the Maildir's own directory."""

NOTHING_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)
"""What a name that leads to no file is told by; anything else is a fault, or a lack of rights."""

MESSAGE_DIRECTORIES = ("cur", "new", "tmp")

DEPTH_LIMIT = 32
"""Levels of nested directories that are looked into."""

FOLDER_LIMIT = 200_000
"""Directories that are looked at in one mailbox."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder and where it lies."""

    name: str
    """Decoded, ``/`` between levels; printable, unique in the mailbox."""
    directory: Path


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a mailbox that was not read as mail, and why."""

    path: str
    """Below the mailbox, printable."""
    reason: str
    may_be_mail: bool = True
    """Whether a program that follows links might read mail there."""


def is_directory(path: Path | str) -> bool:
    """Whether a real directory is there: a link to one is not.

    Raises:
        OSError: it cannot be told; mail in it would be passed over.
    """
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path | str) -> int:
    """Kind and rights of what is there, itself; 0: nothing is."""
    try:
        return os.lstat(path).st_mode
    except ValueError:  # a name that no file can have
        return 0
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return 0
        raise


def find_folders(root: Path) -> tuple[list[Folder], list[Skipped]]:
    """All folders below a Maildir, ``INBOX`` first, then by directory name.

    Raises:
        MailboxError: a directory cannot be listed; mail in it would be passed over.
    """
    finder = _Finder(root)
    folders = [Folder(INBOX, root)]
    taken = {INBOX}
    for directory, levels in finder.find():
        name = _unique("/".join(levels), directory.name, taken)
        taken.add(name)
        folders.append(Folder(name, directory))
    return folders, finder.skipped


def _unique(name: str, raw: str, taken: set[str]) -> str:
    """``name``, or where another directory has it already, ``name`` with the directory's own."""
    while name in taken:
        name = f"{name} [{printable(raw)}]"
    return name


class _Finder:
    def __init__(self, root: Path) -> None:
        self.skipped: list[Skipped] = []
        self._root = root
        self._left = FOLDER_LIMIT

    def find(self) -> Iterator[tuple[Path, list[str]]]:
        for name in self._directories(self._root):
            path = self._root / name
            if not name.startswith("."):
                yield from self._nested(path, [_level(name)])
                continue
            if self._holds_mail(path):
                yield path, _maildir_plus_levels(name[1:])
            self._tell_below(path, 1)

    def _nested(self, path: Path, levels: list[str]) -> Iterator[tuple[Path, list[str]]]:
        if self._holds_mail(path):
            yield path, levels
        if len(levels) == DEPTH_LIMIT:
            self._skip(path, f"more than {DEPTH_LIMIT} levels deep")
            return
        for name in self._directories(path):
            if not name.startswith("."):
                yield from self._nested(path / name, [*levels, _level(name)])
            else:
                self._tell(path / name, len(levels))

    def _tell(self, path: Path, depth: int) -> None:
        """Tells of mail where neither kind of folder has any, as KMail's below dot folders."""
        if self._holds_mail(path):
            self._skip(path, "a folder inside a dot folder, or a dot folder inside another")
        self._tell_below(path, depth + 1)

    def _tell_below(self, path: Path, depth: int) -> None:
        if depth < DEPTH_LIMIT:
            for name in self._directories(path):
                self._tell(path / name, depth)

    def _directories(self, path: Path) -> list[str]:
        """Names of the real directories in ``path`` that may be folders."""
        names = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name in MESSAGE_DIRECTORIES:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        names.append(entry.name)
                    elif entry.is_symlink() and _may_lead_to_directory(entry):
                        self._skip(path / entry.name, "a link to a directory is not followed")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise cannot_list(printable(str(path)), error) from error
        self._left -= len(names)
        if self._left < 0:
            raise MailboxError(
                f"the mailbox has more than {FOLDER_LIMIT} directories",
                hint="name a Maildir, not a directory far above it",
            )
        return sorted(names)

    def _holds_mail(self, path: Path) -> bool:
        try:
            modes = {part: _mode(path / part) for part in ("cur", "new")}
        except OSError as error:
            raise cannot_list(printable(str(path)), error) from error
        for part, mode in modes.items():
            if stat.S_ISLNK(mode):
                self._skip(path / part, "a link to a directory is not followed")
        return any(map(stat.S_ISDIR, modes.values()))

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(printable(str(path.relative_to(self._root))), reason))


def _may_lead_to_directory(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError as error:
        return error.errno not in NOTHING_THERE


def _maildir_plus_levels(raw: str) -> list[str]:
    decoded = [decode_level(level) for level in raw.split(".")]
    levels = [level for level in decoded if level is not None]
    return levels if len(levels) == len(decoded) else [safe_level(raw)]


def _level(raw: str) -> str:
    decoded = decode_level(raw)
    return safe_level(raw) if decoded is None else decoded


def cannot_list(what: str, error: OSError) -> SectoolError:
    """The error where a directory of a mailbox cannot be listed.

    Args:
        what: names it, printable.
        error: as the system raised it.
    """
    if error.errno not in {errno.EACCES, errno.EPERM}:
        return durable.explain(error, f"list {what}", denied=MailboxError)
    return MailboxError(
        f"cannot list {what}: {reason_of(error)}",
        hint="check the owner and the mode; mail in it would be passed over",
    )
