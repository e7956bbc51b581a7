"""What lies in one folder of files, while other programs deliver, flag, rename and remove.

A reader of a directory may miss a file that is renamed meanwhile. So the directories are
read again until their times say that nothing happened while they were read, a few times at
most, and what the readings saw is joined by key.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from sectool.directories import DirectoryEntry
from sectool.errors import MessageError, SectoolError
from sectool.mailbox.files.folders import (
    NOTHING_THERE,
    Folder,
    OpenFolders,
    Skipped,
    cannot_list,
)
from sectool.mailbox.files.names import printable
from sectool.message import Flags
from sectool.sight import grain_of

READINGS = 6
"""Times a folder that keeps changing is read for one snapshot."""

PAUSE = 0.01
"""Seconds between two readings."""

GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What a file that was renamed or removed is told by."""

SKIPPED_LIMIT = 1000
"""Notes kept of what was passed over in one folder."""


class Entry(NamedTuple):
    """One file of a folder."""

    part: str
    """Directory in that of the folder, such as ``cur``; empty: its own."""
    name: str


def whole_name(entry: Entry) -> str:
    """Key of a file that its base name does not tell from others; no base name has a slash."""
    return f"{entry.part}/{printable(entry.name)}"


class WhyNot(NamedTuple):
    """Why something in a folder is no message."""

    reason: str
    """Empty: nobody takes it for one, so it is not told."""
    may_be_mail: bool = True


class FolderView(ABC):
    """The files of one folder by key, as last read.

    The key of a file is the printable part of its name that stays (``base_name``). Where several
    files share it (a copy restored beside the first, say), each goes by its
    directory and whole name instead, so that none hides another.

    Args:
        folder: as it was found.
        directories: open it.
    """

    parts: ClassVar[tuple[str, ...]]
    """Directories in that of the folder in which messages lie, in the order they are read: one
    from which a program moves them to another comes first."""

    def __init__(self, folder: Folder, directories: OpenFolders) -> None:
        self.folder = folder
        self.directories = directories
        self.settled = False
        """Whether nothing happened while the folder was last read."""
        self.skipped: list[Skipped] = []
        self._entries: dict[str, Entry] = {}
        self._twins: dict[str, list[Entry]] = {}
        self._ambiguous: dict[str, list[str]] = {}

    # --- what a store says of names ----------------------------------------------

    def base_name(self, name: str) -> str:
        """What stays of a file's name while it is the same message."""
        return name

    @abstractmethod
    def why_no_message(self, name: str) -> WhyNot | None:
        """Why a name is that of no message; None: it is."""

    def order(self, key: str) -> object:
        """Sorts keys as messages were delivered, as far as they tell."""
        return key

    def letters_of(self, entry: Entry) -> str:  # noqa: ARG002  # for stores with flags
        """What a file's name says of its flags."""
        return ""

    def flags(self, letters: str) -> Flags:  # noqa: ARG002  # for stores with flags
        """What letters in a name mean in this folder now."""
        return Flags()

    def letters(self, flags: Flags) -> str:  # noqa: ARG002  # for stores with flags
        """The letters for flags in this folder now."""
        return ""

    # --- looking up ------------------------------------------------------------

    def keys(self) -> list[str]:
        """Keys of all messages as last read, in the order they were delivered.

        So they are replaced in that order, and a server numbers them in it.
        """
        return sorted(self._entries, key=self.order)  # type: ignore[arg-type]  # each its own

    def find(self, key: str) -> Entry | None:
        """The file that ``key`` named when the folder was last read.

        Raises:
            MessageError: more than one message has this base name.
        """
        if key in self._ambiguous:
            raise MessageError(
                f"more than one file of {self.folder.name} has the unique name {key}",
                hint="two copies may have been restored over each other; rename one",
            )
        return self._entries.get(key)

    def entry(self, key: str) -> Entry | None:
        """As ``find``; None for a base name that several messages have."""
        return None if key in self._ambiguous else self._entries.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._entries or key in self._ambiguous

    def namesakes(self, key: str) -> list[str]:
        """Keys of all messages that have the base name of ``key`` now."""
        base = self.base_name(key.rpartition("/")[2]) or key
        return self._ambiguous.get(base, [base])

    def twins(self, key: str) -> list[Entry]:
        """Further names of the very same file."""
        return self._twins.get(key, [])

    def at(self, entry: Entry) -> DirectoryEntry:
        """Where a file was when the folder was last read.

        Raises:
            MessageError: the folder is another one by now.
            OSError: its directory cannot be opened.
        """
        return self.directories.open(self.folder, entry.part) / entry.name

    def status(self, entry: Entry) -> os.stat_result | None:
        """Status of a file; None if it is gone or no file any more.

        Raises:
            OSError: it cannot be told.
        """
        try:
            status = self.at(entry).lstat()
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        return status if stat.S_ISREG(status.st_mode) else None

    def note(self, key: str, entry: Entry) -> None:
        """Takes down where a file was just put."""
        self._entries[key] = entry

    def forget(self, key: str) -> None:
        """Takes down that a file was just removed."""
        self._entries.pop(key, None)
        self._twins.pop(key, None)

    # --- looking again -----------------------------------------------------------

    def glimpse(self, key: str) -> bool:
        """Looks for one file that is not where it was; reads no further than to it."""
        for part in self.parts:
            for entry in self._read_part(part):
                if key in (self._key(entry), whole_name(entry)):
                    self._entries[key] = entry
                    return True
        return False

    def sightings(self, keys: set[str]) -> Iterator[tuple[str, Entry, os.stat_result]]:
        """Reads the folder once and tells each of ``keys`` the moment it is seen.

        Where files are renamed all the time, a name that was read is soon wrong.
        """
        for part in self.parts:
            for entry in self._read_part(part):
                key = whole_name(entry) if whole_name(entry) in keys else self._key(entry)
                status = self.status(entry) if key in keys else None
                if status is not None:
                    yield key, entry, status

    # --- reading -------------------------------------------------------------------

    def refresh(self) -> None:
        """Reads the folder again.

        Raises:
            MessageError: it is another one than was found.
            MailboxError: it cannot be listed.
        """
        self.directories.close(self.folder)
        found: dict[str, Entry] = {}
        rivals: dict[str, set[Entry]] = {}
        for reading in range(READINGS):
            if reading:
                time.sleep(PAUSE)
            self.skipped = []
            self.settled = self._read_once(found, rivals)
            if self.settled:
                break
        self._twins = {}
        self._ambiguous = {}
        for base, entries in rivals.items():
            self._settle(found, base, entries)
        self._entries = found

    def _read_once(self, found: dict[str, Entry], rivals: dict[str, set[Entry]]) -> bool:
        """Joins what the directories hold now to ``found``; tells whether they stood still."""
        before, now = self._times(), time.time_ns()
        for part in self.parts:
            for entry in self._read_part(part):
                key = self._key(entry)
                known = found.setdefault(key, entry)
                if known != entry:
                    rivals.setdefault(key, {known}).add(entry)
        return before == self._times() and max(before) + grain_of(*before) < now

    def _key(self, entry: Entry) -> str:
        return printable(self.base_name(entry.name)) or whole_name(entry)

    def _times(self) -> list[int]:
        return [self._time(part) for part in self.parts]

    def _time(self, part: str) -> int:
        try:
            return self.directories.open(self.folder, part).status().st_mtime_ns
        except OSError:
            return 0

    def _read_part(self, part: str) -> Iterator[Entry]:
        try:
            directory = self.directories.open(self.folder, part)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in NOTHING_THERE:
                self._skip(part, "", "not a directory; a link to one is not followed")
                return
            raise self._cannot_list(part, error) from error
        try:
            with directory.scan() as entries:
                for entry in entries:
                    why_not = self.why_no_message(entry.name)
                    if why_not is not None:
                        if why_not.reason and not entry.is_dir(follow_symlinks=False):
                            self._skip(part, entry.name, *why_not)
                    elif entry.is_file(follow_symlinks=False):
                        yield Entry(part, entry.name)
                    else:
                        self._skip(part, entry.name, "not a regular file")
        except OSError as error:
            raise self._cannot_list(part, error) from error

    def _settle(self, found: dict[str, Entry], key: str, entries: set[Entry]) -> None:
        """Tells a file that was renamed meanwhile from several files of one base name."""
        files: dict[tuple[int, int], list[Entry]] = {}
        for entry in sorted(entries):  # cur before new
            status = self.status(entry)
            if status is not None:
                files.setdefault((status.st_dev, status.st_ino), []).append(entry)
        if len(files) > 1:
            del found[key]
            self._ambiguous[key] = [whole_name(names[0]) for names in files.values()]
            found.update((whole_name(names[0]), names[0]) for names in files.values())
        for names in files.values():
            if len(files) == 1:
                found[key], *others = names
                if others:
                    self._twins[key] = others

    def _skip(self, part: str, name: str, reason: str, may_be_mail: bool = True) -> None:
        if len(self.skipped) < SKIPPED_LIMIT:
            path = "/".join(filter(None, (self.folder.name, part, printable(name))))
            self.skipped.append(Skipped(path, reason, may_be_mail))

    def _cannot_list(self, part: str, error: OSError) -> SectoolError:
        return cannot_list(f"{part or 'messages'} of the folder {self.folder.name}", error)
