"""Finds and opens the mbox files of a mailbox: one file, or a tree of them.

Trees are laid out as Thunderbird (``Name`` and ``Name.sbd``), Apple Mail (``Name.mbox/mbox``),
Google Takeout or Dovecot have them. The table from folder name to file made here is the only way
from a name to a file, and each directory is opened from the one before; links are not followed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sectool.directories import Directory, DirectoryEntry, is_regular
from sectool.errors import MailboxError, MessageError, MessageVanished
from sectool.mailbox.files.folders import (
    DEPTH_LIMIT,
    FOLDER_LIMIT,
    INBOX,
    NOTHING_THERE,
    Skipped,
    cannot_list,
    is_directory,
)
from sectool.mailbox.files.names import printable, safe_level
from sectool.mailbox.mbox.form import LINE_LIMIT
from sectool.mailbox.mbox.layout import first_separator
from sectool.mailbox.mbox.reader import Reader
from sectool.message import open_regular_file
from sectool.trust import person
from sectool.values import dataclass

IMAP_CACHE = "ImapMail"
"""Directory of a Thunderbird profile that holds copies of what lies on servers."""

BESIDE = ".sectool"
"""How the name of a directory ends in which new copies of a folder wait."""

LOOKED_AT = 10_000
"""Files and directories that are looked at to tell whether a directory holds mbox files."""

_NO_FOLDERS = (".msf", ".dat", ".html", ".lock", "~")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_SUBFOLDERS = ".sbd"
_APPLE = ".mbox"
_APPLE_FILE = "mbox"
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Folder:
    """One mbox file and where it lies."""

    name: str
    """``/`` between levels; printable, unique in the mailbox."""
    components: tuple[str, ...]
    """Names of the directories that lead to it from the root, and its own."""


class MboxFolders:
    """The folders of one mailbox.

    Args:
        root: the directory of the tree, or the one in which the only file lies.
        only: name of the only file; None: all of the tree are meant.
    """

    def __init__(self, root: Directory, only: str | None) -> None:
        self.root = root
        self.only = only
        entry = root / ("." if only is None else only)
        self._status = entry.lstat()
        self._owner = self._status.st_uid
        self._folders: dict[str, Folder] = {}
        self._left: list[Folder] = []
        self.skipped: list[Skipped] = []

    def owner_status(self) -> os.stat_result:
        """Of the mailbox as it was opened: whose it is."""
        return self._status

    def names(self) -> list[str]:
        """Names of all folders, ``INBOX`` first; those seen before stay known."""
        finder = _Finder()
        there: set[tuple[str, ...]] = set()
        if self.only is None:
            folders = list(_with_unique_names(finder.find(self.root)))
        else:
            folders = [Folder(INBOX, (self.only,))]
            with contextlib.suppress(OSError), self.root.scan() as entries:
                there = {(entry.name,) for entry in entries}
            finder.besides = [names for names in sorted(there) if _is_beside(*names)]
        self.skipped = finder.skipped
        folders.sort(key=lambda folder: (folder.name != INBOX, folder.name))
        self._folders.update((folder.name, folder) for folder in folders)
        there.update(folder.components for folder in self._folders.values())
        known = set(map(_beside, there))
        self._left = [
            Folder(printable("/".join(names)), (*names[:-1], names[-1][1 : -len(BESIDE)]))
            for names in finder.besides
            if names not in known
        ]
        for folder in self._left:
            for _, beside in self._besides(folder):
                with beside.scan() as entries:
                    is_empty = next(entries, None) is None
                # Below a tree, as all that is skipped; else it lies beside the mailbox.
                path = folder.name if self.only is None else printable(str(beside.path))
                self.skipped += [] if is_empty else [Skipped(path, "its file is not there")]
        return [folder.name for folder in folders]

    def knows(self, name: str) -> bool:
        """Whether the mailbox has a folder, or had."""
        if name not in self._folders:
            self.names()
        return name in self._folders

    def entry(self, name: str) -> DirectoryEntry:
        """The file of a folder.

        Raises:
            MessageVanished: there is none, or the directory that it was in is gone.
            MessageError: a directory on the way is another user's, and root enters none.
        """
        if not self.knows(name):
            raise MessageVanished(f"the mailbox has no folder {name}")
        return self._entry(self._folders[name])

    def _entry(self, folder: Folder) -> DirectoryEntry:
        name, (*directories, last) = folder.name, folder.components
        directory = self.root
        for component in directories:
            try:
                directory = directory.child(component)
            except OSError as error:
                if error.errno in NOTHING_THERE:
                    raise MessageVanished(f"the folder {name} is no longer there") from error
                raise MessageError(f"the folder {name} cannot be opened: {error}") from error
            self.check_owner(directory.path, directory.status())
        return directory / last

    def open(self, name: str) -> BinaryIO:
        """Opens the file of a folder for reading.

        Raises:
            MessageVanished: it is gone.
            MessageError: it cannot be read, or root would read another user's.
        """
        entry = self.entry(name)
        try:
            stream = open_regular_file(entry)
        except OSError as error:
            if error.errno in NOTHING_THERE:
                raise MessageVanished(f"the folder {name} is no longer there") from error
            raise MessageError(
                f"the folder {name} cannot be read: {os.strerror(error.errno or 0).lower()}",
                hint="check the owner, the mode and the disk",
            ) from error
        try:
            self.check_owner(entry, os.fstat(stream.fileno()))
        except BaseException:
            stream.close()
            raise
        return stream

    def check_owner(self, path: object, status: os.stat_result) -> None:
        """Holds that root is led to nothing but what the owner of the mailbox has.

        Raises:
            MessageError: it is another user's.
        """
        if os.geteuid() != 0:
            return
        if status.st_uid != self._owner:
            raise MessageError(
                f"{printable(str(path))} belongs to {person(status.st_uid)}, and the mailbox to"
                f" {person(self._owner)}, so root leaves it"
            )

    def entry_of_new(self, name: str) -> DirectoryEntry:
        """The file of a folder, which may have to be made, in the root directory.

        Args:
            name: ASCII letters and digits where there is no such folder.

        Raises:
            MessageVanished: there is none, and it is another name.
        """
        if self.only is not None:
            name = INBOX
        if not self.knows(name):
            if not _PLAIN_NAME.fullmatch(name):
                raise MessageVanished(f"the mailbox has no folder {name}")
            self._folders[name] = Folder(name, (name,))
        return self.entry(name)

    def besides(self) -> Iterator[tuple[DirectoryEntry, Directory]]:
        """The files for which new copies wait, with the directories in which they do.

        They wait also for a file that has another name by now, or was to be made: as the last call
        of ``names`` found them. Beside a single file those of others are among these.
        """
        for folder in (*self._folders.values(), *self._left):
            yield from self._besides(folder)

    def _besides(self, folder: Folder) -> Iterator[tuple[DirectoryEntry, Directory]]:
        with contextlib.suppress(MessageError, OSError):
            entry = self._entry(folder)
            beside = (entry.directory / beside_name(entry.name)).open_directory()
            self.check_owner(beside.path, beside.status())
            yield entry, beside


def beside_name(name: str) -> str:
    """Name of the directory beside an mbox file in which its new copies wait."""
    longest = _LONGEST_NAME - len(f".{BESIDE}")
    short = os.fsdecode(os.fsencode(name)[:longest])
    return f".{short}{BESIDE}"


def _is_beside(name: str) -> bool:
    return name.startswith(".") and name[1:].endswith(BESIDE) and name[1:] != BESIDE


def _beside(components: tuple[str, ...]) -> tuple[str, ...]:
    return (*components[:-1], beside_name(components[-1]))


def is_mbox(entry: DirectoryEntry) -> bool:
    """Whether a regular file begins as an mbox does.

    Raises:
        OSError: it cannot be told.
    """
    if not is_regular(entry):
        return False
    with open_regular_file(entry) as stream:
        return first_separator(Reader(stream.fileno(), 4 * LINE_LIMIT)) is not None


def holds_mbox(directory: Directory) -> bool:
    """Whether an mbox file lies in a directory, or near below it.

    Raises:
        SectoolError: it cannot be told.
    """
    if is_directory(directory / "cur"):
        return False
    return next(_Finder(LOOKED_AT).find(directory), None) is not None


def imap_host(path: Path) -> str | None:
    """The server whose mail a path holds copies of, as Thunderbird keeps it; None: of none."""
    parts = path.parts
    if IMAP_CACHE not in parts:
        return None
    after = parts[parts.index(IMAP_CACHE) + 1 :]
    return after[0] if after else "your accounts"


def _with_unique_names(found: Iterator[tuple[tuple[str, ...], list[str]]]) -> Iterator[Folder]:
    taken: set[str] = set()
    for components, levels in found:
        name = "/".join(levels)
        while name in taken:
            name = f"{name} [{printable(components[-1])}]"
        taken.add(name)
        yield Folder(name, components)


class _Finder:
    """Looks through a tree, each directory once."""

    def __init__(self, limit: int = FOLDER_LIMIT) -> None:
        self.skipped: list[Skipped] = []
        self.besides: list[tuple[str, ...]] = []
        """Where new copies wait, whether or not the file of the folder is there."""
        self._left = limit

    def find(
        self, directory: Directory, names: tuple[str, ...] = (), levels: tuple[str, ...] = ()
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        if len(names) > DEPTH_LIMIT:
            return self._skip(names, f"more than {DEPTH_LIMIT} levels deep")
        files, directories = self._entries(directory, names)
        indexes = {name for name in files if name.endswith(".msf")}
        for name in files:
            if self._is_folder(directory / name, has_index=f"{name}.msf" in indexes):
                is_apple = name == _APPLE_FILE and names and names[-1].endswith(_APPLE)
                own = () if is_apple else (_level(name, top=not levels),)
                yield (*names, name), [*levels, *own]
        for name in directories:
            yield from self._below(directory, (*names, name), levels)

    def _below(
        self, directory: Directory, names: tuple[str, ...], levels: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        name = names[-1]
        try:
            child = directory.child(name)
            is_maildir = is_directory(child / "cur")
        except OSError as error:
            if error.errno in NOTHING_THERE:  # removed meanwhile
                return
            raise cannot_list(printable(str(directory.path / name)), error) from error
        if is_maildir:
            return self._skip(names, "a Maildir inside: name it by itself")
        if name == IMAP_CACHE:
            return self._skip(names, "a cache of IMAP accounts: run sectool on the accounts")
        stem = name.removesuffix(_SUBFOLDERS)
        below = (*levels, _level(stem, top=not levels))
        yield from self.find(child, names, below)

    def _entries(self, directory: Directory, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
        files, directories = [], []
        try:
            with directory.scan() as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        if _is_beside(entry.name):
                            self.besides.append((*names, entry.name))
                            self._left -= 1
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(entry.name)
                    elif entry.is_symlink() and (entry.is_dir() or entry.is_file()):
                        self._skip((*names, entry.name), "a link is not followed")
        except OSError as error:
            raise cannot_list(printable(str(directory.path)), error) from error
        self._left -= len(files) + len(directories)
        if self._left < 0:
            raise MailboxError(
                f"the mailbox has more than {FOLDER_LIMIT} files and directories",
                hint="name the directory of the folders, not one far above it",
            )
        return sorted(files), sorted(directories)

    def _is_folder(self, entry: DirectoryEntry, *, has_index: bool) -> bool:
        if entry.name.lower().endswith(_NO_FOLDERS):
            return False
        try:
            if is_mbox(entry):
                return True
            is_empty = is_regular(entry) and entry.lstat().st_size == 0
        except OSError as error:
            if error.errno in NOTHING_THERE:
                return False
            raise cannot_list(printable(str(entry)), error) from error
        named = entry.name == _APPLE_FILE or entry.name.lower() in {"inbox", "inbox.mbox"}
        return is_empty and (has_index or named or entry.name.endswith(_APPLE))

    def _skip(self, names: tuple[str, ...], reason: str) -> None:
        self.skipped.append(Skipped(printable("/".join(names)), reason))


def _level(raw: str, *, top: bool) -> str:
    level = safe_level(raw.removesuffix(_APPLE) or raw)
    return INBOX if top and level.lower() == "inbox" else level
