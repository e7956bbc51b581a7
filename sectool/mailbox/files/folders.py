"""Finds and opens the folders of a mailbox that are directories.

The table from folder name to directory that a layout makes is the only way from a name
to a directory: a name given from outside is looked up, never joined to a path.
All are opened from the root, a component at a time. Links are not followed;
what is passed over is told.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections import OrderedDict
from collections.abc import Iterator

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MailboxError, MessageError, SectoolError, reason_of
from sectool.mailbox.files.names import printable
from sectool.trust import person
from sectool.values import dataclass

INBOX = "INBOX"
"""Name of the inbox; on most the root directory."""

NOTHING_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)
"""What a name that leads to no file is told by; anything else is a fault, or a lack of rights."""

MESSAGE_DIRECTORIES = ("cur", "new", "tmp")
"""In the directory of a folder of a Maildir."""

DEPTH_LIMIT = 32
"""Levels of nested directories that are looked into."""

FOLDER_LIMIT = 200_000
"""Directories that are looked at in one mailbox."""


Names = tuple[str, ...]
"""Of the directories that lead from the root to one."""

OPEN_LIMIT = 32
"""Directories of folders that one process keeps open."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder and where it lies."""

    name: str
    """Decoded, ``/`` between levels; printable, unique in the mailbox."""
    components: tuple[str, ...]
    """Names of the directories that lead to it from the root; none of the root."""
    identity: tuple[int, int]
    """Device and inode of its directory when it was found."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a mailbox that was not read as mail, and why."""

    path: str
    """Below the mailbox, printable."""
    reason: str
    may_be_mail: bool = True
    """Whether a program that follows links might read mail there."""


def is_directory(entry: DirectoryEntry) -> bool:
    """Whether a real directory is there: a link to one is not.

    Raises:
        OSError: it cannot be told; mail in it would be passed over.
    """
    return stat.S_ISDIR(mode_of(entry))


def is_there(entry: DirectoryEntry) -> bool:
    """Whether anything has the name.

    Raises:
        OSError: it cannot be told.
    """
    return bool(mode_of(entry))


def mode_of(entry: DirectoryEntry) -> int:
    """Kind and rights of what is there, itself; 0: nothing is."""
    try:
        return entry.lstat().st_mode
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return 0
        raise


def is_maildir(directory: Directory) -> bool:
    """Whether it is a folder of a Maildir without a doubt.

    An empty ``tmp`` is lost by some ways to copy; Thunderbird makes no ``new``.

    Raises:
        OSError: it cannot be told.
    """
    others = (is_directory(directory / part) for part in ("new", "tmp"))
    return is_directory(directory / "cur") and any(others)


class OpenFolders:
    """The directories of folders, opened from the root; a bounded number stays open.

    Args:
        root: of the mailbox.
    """

    def __init__(self, root: Directory) -> None:
        self.root = root
        self._open: OrderedDict[tuple[tuple[int, int], str], _Opened] = OrderedDict()
        """By the identity of a folder, and what of it."""

    def open(self, folder: Folder, part: str = "") -> Directory:
        """The directory of a folder, or one in it.

        Args:
            folder: as it was found.
            part: ``new``, ``cur`` or ``tmp``; empty: its own directory.

        Raises:
            MessageError: another directory lies in its place by now.
            OSError: it cannot be opened; ENOENT, ENOTDIR or ELOOP where it is no directory.
        """
        return self._opened(folder, part).directory

    def _opened(self, folder: Folder, part: str) -> _Opened:
        opened = self._open.pop((folder.identity, part), None)
        if opened is None:
            opened = self._opened(folder, "").child(part) if part else self._reach(folder)
        self._open[folder.identity, part] = opened
        while len(self._open) > OPEN_LIMIT:
            self._open.popitem(last=False)
        return opened

    def close(self, folder: Folder) -> None:
        """Opens a folder anew when it is asked for again."""
        for known in [key for key in self._open if key[0] == folder.identity]:
            del self._open[known]

    def _reach(self, folder: Folder) -> _Opened:
        opened = _Opened(self.root, self.root.status().st_uid)
        for name in folder.components:
            opened = opened.child(name)
        if identity(opened.directory) != folder.identity:
            raise MessageError(
                f"the folder {folder.name} is another directory than when the mailbox was listed",
                hint="run the same command again",
            )
        return opened

    def check_owner(
        self, folder: Folder, part: str, file: tuple[str, os.stat_result] | None = None
    ) -> None:
        """Holds that root is led to nobody's mail but that of the owner of the mailbox.

        Args:
            folder: where the message lies.
            part: of the folder.
            file: of the message, its name and its status when it was open; None: it is to be made.

        Raises:
            MessageError: it, or a directory on the way, belongs to another user.
            OSError: a directory cannot be opened.
        """
        if os.geteuid() != 0:
            return
        opened = self._opened(folder, part)
        if (stranger := opened.stranger) is not None:
            path, status = stranger.path, stranger.status()
        elif file is not None and file[1].st_uid != opened.owner:
            path, status = opened.directory.path / file[0], file[1]
        else:
            return
        reason = f"{printable(str(path))} belongs to {person(status.st_uid)}, and the mailbox to"
        reason += f" {person(opened.owner)}, so root leaves it"
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            raise MessageError(f"{reason}; it has another name elsewhere")
        command = f"chown -h {opened.owner} {shlex.quote(printable(str(path)))}"
        raise MessageError(f"{reason}; if it is theirs: {command}", hint=command)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A directory on the way to mail."""

    directory: Directory
    owner: int
    """Of the mailbox."""
    stranger: Directory | None = None
    """The first one on the way that is another user's."""

    def child(self, name: str) -> _Opened:
        directory = self.directory.child(name)
        is_theirs = directory.status().st_uid == self.owner
        stranger = self.stranger or (None if is_theirs else directory)
        return _Opened(directory, self.owner, stranger)


def unique_folder(name: str, raw: str, taken: set[str]) -> str:
    """``name``, or where another directory has it already, ``name`` with the directory's own."""
    while name in taken:
        name = f"{name} [{printable(raw)}]"
    taken.add(name)
    return name


class FolderFinder:
    """Opens the directories in which folders may lie, from the root down, and bounds them."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._left = FOLDER_LIMIT

    def directories(self, directory: Directory, names: Names) -> Iterator[tuple[Names, Directory]]:
        """The real directories in one that may be folders, by name, open.

        Args:
            directory: they lie in it.
            names: of the directories that lead to it from the root.

        Raises:
            MailboxError: they cannot be listed, mail in them would be passed over, or there are
                too many.
        """
        found = []
        try:
            with directory.scan() as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if self.may_be_folder(entry.name):
                            found.append(entry.name)
                    elif (
                        entry.is_symlink()
                        and self.may_be_folder(entry.name)
                        and _may_lead_to_directory(entry)
                    ):
                        self.skip((*names, entry.name), "a link to a directory is not followed")
        except OSError as error:
            raise cannot_list(printable(str(directory.path)), error) from error
        if found and len(names) == DEPTH_LIMIT:
            self.skip(names, f"more than {DEPTH_LIMIT} levels deep")
            return
        self._left -= len(found)
        if self._left < 0:
            raise MailboxError(
                f"the mailbox has more than {FOLDER_LIMIT} directories",
                hint="name the mailbox, not a directory far above it",
            )
        for name in sorted(found):
            try:
                child = directory.child(name)
            except OSError as error:
                if error.errno in NOTHING_THERE:  # removed meanwhile
                    continue
                raise cannot_list(printable(str(directory.path / name)), error) from error
            yield (*names, name), child

    def may_be_folder(self, name: str) -> bool:  # noqa: ARG002  # for stores with others
        """Whether a directory of this name is looked into."""
        return True

    def skip(self, names: Names, reason: str) -> None:
        """Takes down what is passed over.

        Args:
            names: of the directories that lead to it, and its own.
            reason: why.
        """
        self.skipped.append(Skipped(printable("/".join(names)), reason))


def identity(directory: Directory) -> tuple[int, int]:
    """Device and inode of a directory."""
    status = directory.status()
    return status.st_dev, status.st_ino


def _may_lead_to_directory(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError as error:
        return error.errno not in NOTHING_THERE


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
