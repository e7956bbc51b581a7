"""What lies in one folder of a Maildir, while other programs deliver, flag and remove.

A reader of a directory may miss a file that is renamed meanwhile, and flags
change by renaming. So the directories are read again until their times say
that nothing happened while they were read, a few times at most, and what the
readings saw is joined by base name.

Dovecot guards its own readings by ``dovecot-uidlist.lock``. That lock is not
taken here: deliveries wait for it, so a scan must not hold it, and a run that
is killed would leave it behind for two minutes. Nothing here needs it. A new
copy appears under a name no program knows, an old one is unlinked; only where
flags changed during the replacement is a visible file renamed, as any Maildir
program does it that has no such lock.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from sectool.directories import DirectoryEntry
from sectool.errors import MessageError, SectoolError
from sectool.mailbox.maildir.folders import (
    NOTHING_THERE,
    Folder,
    OpenFolders,
    Skipped,
    cannot_list,
)
from sectool.mailbox.maildir.names import FlagLetters, delivery_order, printable, split_name
from sectool.message import Flags, grain_of, open_regular_file

READINGS = 6
"""Times a folder that keeps changing is read for one snapshot."""

PAUSE = 0.01
"""Seconds between two readings."""

KEYWORDS_FILE = "dovecot-keywords"
KEYWORDS_SIZE_LIMIT = 64 * 1024

WITHOUT_KEYWORDS = FlagLetters()
"""For letters of the flags that every folder has: no file is looked at for them."""

GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What a file that was renamed or removed is told by."""

SKIPPED_LIMIT = 1000
"""Notes kept of what was passed over in one folder."""


class Entry(NamedTuple):
    """One file of a folder."""

    part: str
    """``new`` or ``cur``."""
    name: str

    @property
    def letters(self) -> str:
        """Of the flags; a file in ``new`` has none."""
        return split_name(self.name)[1] if self.part == "cur" else ""


@lru_cache(maxsize=256)
def _system_flags(letters: str) -> Flags:
    return WITHOUT_KEYWORDS.flags(letters)


def _key(entry: Entry) -> str:
    return printable(split_name(entry.name)[0]) or _whole(entry)


def _whole(entry: Entry) -> str:
    """Key of a file that its base name does not tell from others; no base name has a slash."""
    return f"{entry.part}/{printable(entry.name)}"


class FolderView:
    """The files of one folder by key, as last read.

    The key of a file is its printable base name. Where several files share
    one base name (a copy restored beside the first, say), each goes by its
    directory and whole name instead, so that none hides another.

    Args:
        folder: as it was found.
        directories: open it.
    """

    def __init__(self, folder: Folder, directories: OpenFolders) -> None:
        self.folder = folder
        self._directories = directories
        self.settled = False
        """Whether nothing happened while the folder was last read."""
        self.skipped: list[Skipped] = []
        self._entries: dict[str, Entry] = {}
        self._twins: dict[str, list[Entry]] = {}
        self._ambiguous: dict[str, list[str]] = {}
        self._letters = FlagLetters()
        self._letters_seen = (0, 0)

    # --- looking up ------------------------------------------------------------

    def keys(self) -> list[str]:
        """Keys of all messages as last read, in the order they were delivered.

        So they are replaced in that order, and a server numbers them in it.
        """
        return sorted(self._entries, key=delivery_order)

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
        base = split_name(key.rpartition("/")[2])[0] or key
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
        return self._directories.open(self.folder, entry.part) / entry.name

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
        for part in ("new", "cur"):
            for entry in self._read_part(part):
                if key in (_key(entry), _whole(entry)):
                    self._entries[key] = entry
                    return True
        return False

    def sightings(self, keys: set[str]) -> Iterator[tuple[str, Entry, os.stat_result]]:
        """Reads the folder once and tells each of ``keys`` the moment it is seen.

        Where files are renamed all the time, a name that was read is soon wrong.
        """
        for part in ("new", "cur"):
            for entry in self._read_part(part):
                key = _whole(entry) if _whole(entry) in keys else _key(entry)
                status = self.status(entry) if key in keys else None
                if status is not None:
                    yield key, entry, status

    # --- keywords ----------------------------------------------------------------

    def flags(self, letters: str) -> Flags:
        """What letters behind ``:2,`` mean in this folder now."""
        has_keywords = any(map(str.islower, letters))
        return self._letters_now().flags(letters) if has_keywords else _system_flags(letters)

    def letters(self, flags: Flags) -> str:
        """The letters for flags in this folder now."""
        return (self._letters_now() if flags.keywords else WITHOUT_KEYWORDS).letters(flags)

    def _letters_now(self) -> FlagLetters:
        try:
            path = self._directories.open(self.folder) / KEYWORDS_FILE
            status = path.lstat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._letters_seen:
                with open_regular_file(path) as stream:
                    self._letters = FlagLetters.parse(stream.read(KEYWORDS_SIZE_LIMIT))
                self._letters_seen = seen
        except OSError:
            self._letters = FlagLetters()
            self._letters_seen = (0, 0)
        return self._letters

    # --- reading -------------------------------------------------------------------

    def refresh(self) -> None:
        """Reads the folder again.

        Raises:
            MessageError: it is another one than was found.
            MailboxError: it cannot be listed.
        """
        self._directories.close(self.folder)
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
        # new first: a file that a server moves to cur meanwhile is seen in one or both.
        for part in ("new", "cur"):
            for entry in self._read_part(part):
                key = _key(entry)
                known = found.setdefault(key, entry)
                if known != entry:
                    rivals.setdefault(key, {known}).add(entry)
        return before == self._times() and max(before) + grain_of(*before) < now

    def _times(self) -> tuple[int, int]:
        new, cur = (self._time(part) for part in ("new", "cur"))
        return new, cur

    def _time(self, part: str) -> int:
        try:
            return self._directories.open(self.folder, part).status().st_mtime_ns
        except OSError:
            return 0

    def _read_part(self, part: str) -> Iterator[Entry]:
        try:
            directory = self._directories.open(self.folder, part)
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
                    if entry.name.startswith("."):
                        reason = "names with a leading dot are no messages"
                        self._skip(part, entry.name, reason, may_be_mail=False)
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
            self._ambiguous[key] = [_whole(names[0]) for names in files.values()]
            found.update((_whole(names[0]), names[0]) for names in files.values())
        for names in files.values():
            if len(files) == 1:
                found[key], *others = names
                if others:
                    self._twins[key] = others

    def _skip(self, part: str, name: str, reason: str, *, may_be_mail: bool = True) -> None:
        if len(self.skipped) < SKIPPED_LIMIT:
            path = f"{self.folder.name}/{part}/{printable(name)}"
            self.skipped.append(Skipped(path, reason, may_be_mail))

    def _cannot_list(self, part: str, error: OSError) -> SectoolError:
        return cannot_list(f"{part} of the folder {self.folder.name}", error)
