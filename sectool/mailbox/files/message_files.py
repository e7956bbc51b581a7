"""Finds and reads the files of a mailbox's messages, whatever a server renames meanwhile.

The one place that goes from a ``MessageRef`` to a file, through the tables of
folders and files; it writes nothing.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, TypeVar

from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MailboxError, MessageChanged, MessageError, MessageVanished, reason_of
from sectool.mailbox.files.folders import Folder, OpenFolders, Skipped
from sectool.mailbox.files.inheriting import EPOCH, Inheritance, attributes_of
from sectool.mailbox.files.view import GONE, Entry, FolderView
from sectool.message import Flags, Listing, MessageRef, digest_stream, open_regular_file
from sectool.sight import Sight
from sectool.values import dataclass

LOOKS = 32
"""Times a file that is renamed again and again is looked for."""

MISSES = 3
"""Readings of a folder that never stands still, after which a name not seen is gone."""

VIEW_LIMIT = 4
"""Folders whose file names are kept in memory."""

UNREADABLE = "unreadable"
"""Hint of a file that nothing could be told of."""

Answer = TypeVar("Answer")

FindFolders = Callable[[Directory], tuple[list[Folder], list[Skipped]]]
"""Tells all folders of a root, ``INBOX`` first, and what is passed over."""


def internal_date(status: os.stat_result) -> datetime:
    """A file's modification time, at the nearest moment that a ``datetime`` can say."""
    try:
        return EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if status.st_mtime_ns > 0 else EPOCH


def hint(status: os.stat_result) -> str:
    """Changes when the bytes of a file may have: size, modification time, inode."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


@dataclass(frozen=True, slots=True)
class Found:
    """One message's file, whose bytes were just read."""

    entry: Entry
    status: os.stat_result
    digest: str
    """SHA-256 of its bytes."""
    flags: Flags
    is_settled: bool
    """Whether a change since the reading shows in its status (``Sight``)."""


class MessageFiles:
    """The folders and files of one mailbox.

    Args:
        root: its directory.
        find_folders: knows their layout.
        view_of: makes the view of a folder.
    """

    def __init__(
        self,
        root: Directory,
        find_folders: FindFolders,
        view_of: Callable[[Folder, OpenFolders], FolderView],
    ) -> None:
        self.root = root
        self._find_folders = find_folders
        self._view_of = view_of
        self._directories = OpenFolders(root)
        self._folders: dict[str, Folder] = {}
        self._views: OrderedDict[str, FolderView] = OrderedDict()
        self._skipped_folders: list[Skipped] = []
        self._skipped_files: dict[str, list[Skipped]] = {}
        self._digests: dict[Sight, str] = {}
        self._links: dict[tuple[int, int], int] = {}
        """Of files that were read, by any process, and need not be read again while they are as
        they were then."""

    # --- folders -----------------------------------------------------------------

    def folders(self) -> list[str]:
        """Names of all folders, ``INBOX`` first; those seen before stay known."""
        folders, self._skipped_folders = self._find_folders(self.root)
        self._folders.update((folder.name, folder) for folder in folders)
        return [folder.name for folder in folders]

    def folder(self, name: str) -> Folder | None:
        """A folder by name; None if the mailbox never had it."""
        if name not in self._folders:
            self.folders()
        return self._folders.get(name)

    def skipped(self) -> list[Skipped]:
        """What was passed over, in the tree and in the folders that were walked."""
        return sum(self._skipped_files.values(), list(self._skipped_folders))

    def view(self, name: str) -> FolderView:
        """The files of a folder, as read before, or freshly.

        Raises:
            MessageVanished: there is no such folder.
            MailboxError: it cannot be listed.
        """
        view = self._views.pop(name, None)
        if view is None:
            folder = self._known(name)
            view = self._view_of(folder, self._directories)
            view.refresh()
        self._views[name] = view
        while len(self._views) > VIEW_LIMIT:
            self._views.popitem(last=False)
        return view

    def directory(self, name: str, part: str = "") -> Directory:
        """A folder's directory, or one in it.

        Raises:
            MessageVanished: there is no such folder.
            MessageError: it is another one than was found.
            OSError: it cannot be opened.
        """
        return self._directories.open(self._known(name), part)

    def writable_directory(self, name: str, part: str) -> Directory:
        """As ``directory``, for what is to be written.

        Raises:
            MessageError: it is not of the owner of the mailbox, and root writes to no other.
        """
        self._directories.check_owner(self._known(name), part)
        directory = self.directory(name, part)
        if not directory.status().st_nlink:
            self._directories.close(self._known(name))
            directory = self.directory(name, part)  # another one, where there is one
        return directory

    def _known(self, name: str) -> Folder:
        folder = self.folder(name)
        if folder is None:
            raise MessageVanished(f"the mailbox has no folder {name}")
        return folder

    # --- walking --------------------------------------------------------------------

    def walk(self, name: str) -> Generator[Listing, None, None]:
        """Every message that is in the folder from before the walk until after it, once.

        Raises:
            MailboxError: there is no such folder, or it cannot be listed.
        """
        folder = self.folder(name)
        if folder is None:
            raise MailboxError(
                f"the mailbox has no folder {name}", hint="`sectool scan` shows the folders"
            )
        try:
            yield from self._walk(folder)
        except MessageError as error:
            raise MailboxError(error.message, hint=error.hint) from error

    def _walk(self, folder: Folder) -> Generator[Listing, None, None]:
        view = self._read_folder(folder)
        if view.skipped:
            self._skipped_files[folder.name] = view.skipped
        self._views[folder.name] = view
        self._views.move_to_end(folder.name)
        listings = _Listings(view)
        missing = yield from listings.of(view.keys())
        if missing:
            # Renamed or removed since the folder was read: read again for all of them.
            view.refresh()
            missing = yield from listings.of(_namesakes(view, missing))
        yield from listings.hunt(set(missing))

    def _read_folder(self, folder: Folder) -> FolderView:
        view = self._view_of(folder, self._directories)
        try:
            view.refresh()
        except MessageError:
            # Such as one that was removed and made anew while others were walked.
            self.folders()
            view = self._view_of(self._known(folder.name), self._directories)
            view.refresh()
        return view

    # --- one message ------------------------------------------------------------------

    def with_file(self, ref: MessageRef, act: Callable[[DirectoryEntry, Entry], Answer]) -> Answer:
        """Calls ``act`` with the file of a message; again if it was renamed meanwhile.

        Raises:
            MessageVanished: there is no such message.
            MessageError: its name is ambiguous, or ``act`` met an I/O error.
        """
        view = self.view(ref.folder)
        misses = 0
        stale: OSError | None = None
        for _ in range(LOOKS):
            entry = view.find(ref.key)
            if entry is not None:
                try:
                    return act(view.at(entry), entry)
                except OSError as error:
                    if error.errno not in {*GONE, errno.ESTALE}:
                        raise _unreadable(ref, error) from error
                    stale = error if error.errno == errno.ESTALE else None
            if entry is not None and view.glimpse(ref.key):
                continue
            view.refresh()
            if ref.key not in view:
                misses += 1
                if view.settled or misses == MISSES:
                    break
        if stale is not None and ref.key in view:
            raise _unreadable(ref, stale) from stale
        raise MessageVanished(f"the message {ref} is no longer there")

    def open(self, ref: MessageRef) -> BinaryIO:
        """The bytes of a message; the caller closes the stream."""
        return self.with_file(ref, lambda file, entry: self.open_at(ref, file, entry)[0])

    def examine(self, ref: MessageRef, expected: str) -> Found:
        """Reads a message, unless it is as it was when it was read, and holds that it is expected.

        Raises:
            MessageVanished: there is no such message.
            MessageChanged: its bytes do not have the SHA-256 ``expected``, which is not empty, or
                a mail program is moving it.
            MessageError: it cannot be read.
        """
        found = self.with_file(ref, lambda file, entry: self._examine(ref, file, entry))
        if expected not in {"", found.digest}:
            raise MessageChanged(f"the message {ref} is not the one that was read before")
        return found

    def inheritance_of(self, ref: MessageRef, expected: str) -> Inheritance:
        """What a new copy has of a message; the message is examined as by ``examine``.

        Raises:
            MessageError: as ``examine``.
        """
        found = self.examine(ref, expected)
        status, inheritance = self.with_file(
            ref, lambda file, entry: self._inheritance(ref, file, entry)
        )
        if Sight.of(found.status).renamed(Sight.of(status)) is None:  # a server may have
            raise MessageChanged(f"the message {ref} is not the one that was read before")
        return inheritance

    def note_reading(self, sight: Sight | None, digest: str) -> None:
        """A file was read, and had these bytes and names."""
        if sight is not None:
            self._links[sight.file] = sight.links
            if sight.is_telling:
                self._digests[sight] = digest

    def note_rename(self, sight: Sight | None, file: DirectoryEntry, digest: str) -> None:
        """A file was just given another name by this program, and is known if nobody else acted.

        Args:
            sight: of it right before; None: it was not known then.
            file: what has the name now.
            digest: of its bytes.
        """
        if sight is not None and sight.is_telling:
            self.note_reading(sight.renamed(Sight.of(file.lstat())), digest)

    def forget_readings(self) -> None:
        """What was read is not asked for again."""
        self._digests.clear()
        self._links.clear()

    def flags(self, ref: MessageRef) -> Flags:
        """Flags of a message as its folder was last read; none where it was not there."""
        try:
            view = self.view(ref.folder)
            entry = view.find(ref.key)
        except MessageError:
            return Flags()
        return Flags() if entry is None else view.flags(view.letters_of(entry))

    def open_at(
        self, ref: MessageRef, file: DirectoryEntry, entry: Entry
    ) -> tuple[BinaryIO, os.stat_result]:
        """Opens the file of a message, for the function that ``with_file`` calls.

        Returns:
            The open file, and its status.

        Raises:
            MessageError: it is not the mail of the owner of the mailbox, and root reads no other.
            OSError: it cannot be opened.
        """
        stream = open_regular_file(file)
        try:
            folder = self.view(ref.folder).folder
            status = os.fstat(stream.fileno())
            self._directories.check_owner(folder, entry.part, (entry.name, status))
        except BaseException:
            stream.close()
            raise
        return stream, status

    def _examine(self, ref: MessageRef, file: DirectoryEntry, entry: Entry) -> Found:
        status, is_settled = file.lstat(), True
        digest = self._digests.get(Sight.of(status))
        if digest is None:
            status, digest, is_settled = self._read(ref, file, entry)
        # A server that moves a file gives it the new name before it takes the old one.
        if status.st_nlink > self._links.get(Sight.of(status).file, status.st_nlink):
            raise MessageChanged(f"a mail program moves or copies the message {ref}")
        view = self.view(ref.folder)
        flags = view.flags(view.letters_of(entry))
        return Found(entry, status, digest, flags, is_settled)

    def _read(
        self, ref: MessageRef, file: DirectoryEntry, entry: Entry
    ) -> tuple[os.stat_result, str, bool]:
        stream, status = self.open_at(ref, file, entry)
        with stream:
            sight, is_settled = Sight.of(status), Sight.of(status).is_settled(time.time_ns())
            digest = digest_stream(stream)
        if is_settled and sight.is_callers:
            self._digests[sight] = digest
        return status, digest, is_settled

    def _inheritance(
        self, ref: MessageRef, file: DirectoryEntry, entry: Entry
    ) -> tuple[os.stat_result, Inheritance]:
        stream, status = self.open_at(ref, file, entry)
        with stream:
            return status, Inheritance.of_copy(status, attributes_of(stream.fileno()))


def answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    """What ``act`` returns, or the error that costs just this message."""
    try:
        return act(*arguments)
    except MessageError as error:
        return error


def is_unchanged(file: DirectoryEntry, found: Found, *, renamed: bool = False) -> bool:
    """Whether the very file that was read is there, and nothing of it was changed since.

    Args:
        file: where it is looked for.
        found: as it was read.
        renamed: whether this program gave it another name since, which most file systems note
            as a change.

    Raises:
        OSError: there is none.
    """
    now, read = Sight.of(file.lstat()), Sight.of(found.status)
    if now.links > read.links:  # fewer where a twin of it went
        return False
    read = read._replace(links=now.links)
    return now == (read._replace(changed=now.changed) if renamed else read)


def _unreadable(ref: MessageRef, error: OSError) -> MessageError:
    reason = reason_of(error)
    return MessageError(
        f"the message {ref} cannot be read: {reason}", hint="check the owner, the mode and the disk"
    )


def _namesakes(view: FolderView, keys: list[str]) -> list[str]:
    """``keys`` as they are called now; without those that are certainly gone."""
    names = (same for key in keys for same in view.namesakes(key))
    return [key for key in dict.fromkeys(names) if key in view or not view.settled]


class _Listings:
    """Makes the listings of one walk through one folder."""

    def __init__(self, view: FolderView) -> None:
        self._view = view
        self._flags: dict[str, Flags] = {}
        self._inodes: set[int] = set()
        """Of files told already that share their base name with others: such a
        file is known by its whole name, which changes with its flags."""

    def of(self, keys: list[str]) -> Generator[Listing, None, list[str]]:
        """Yields what is there of ``keys``; returns those that are not where they were."""
        missing = []
        for key in keys:
            entry = self._view.entry(key)
            try:
                status = self._view.status(entry) if entry is not None else None
            except OSError:
                # Whoever reads it tells why it cannot be read.
                ref = MessageRef(self._view.folder.name, key)
                yield Listing(ref, 0, Flags(), UNREADABLE)
                continue
            if entry is None or status is None:
                missing.append(key)
            elif self._is_first(key, status):
                yield self._listing(key, entry, status)
        return missing

    def hunt(self, keys: set[str]) -> Iterator[Listing]:
        """Yields what is there of ``keys`` among files that are renamed without a pause.

        One that several readings in a row did not show is gone.
        """
        for _ in range(LOOKS):
            if not keys:
                return
            for key, entry, status in self._view.sightings(keys):
                if key in keys:
                    keys.discard(key)
                    if self._is_first(key, status):
                        yield self._listing(key, entry, status)

    def _is_first(self, key: str, status: os.stat_result) -> bool:
        if "/" not in key:
            return True
        is_first = status.st_ino not in self._inodes
        self._inodes.add(status.st_ino)
        return is_first

    def _listing(self, key: str, entry: Entry, status: os.stat_result) -> Listing:
        letters = self._view.letters_of(entry)
        if letters not in self._flags:
            self._flags[letters] = self._view.flags(letters)
        return Listing(
            MessageRef(self._view.folder.name, key),
            status.st_size,
            self._flags[letters],
            hint(status),
            internal_date(status),
        )
