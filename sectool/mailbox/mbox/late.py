"""What programs write into an old file after another one got its name.

Whoever had it open may do so. It keeps a second name until nobody has it open for writing, and
what came late is delivered into the new file, once.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from typing import BinaryIO

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry, is_regular
from sectool.errors import Locked, MessageVanished
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.mbox.folders import MboxFolders
from sectool.mailbox.mbox.index import read_index
from sectool.mailbox.mbox.layout import is_separator
from sectool.mailbox.mbox.locking import is_open_for_writing, lock_of, locked, remove_stale_lock
from sectool.mailbox.mbox.reader import Reader
from sectool.mailbox.mbox.waiting import Waiting, names_of
from sectool.message import COPY_BLOCK, Intent, open_regular_file

PATIENCE = 2.0
"""Seconds that a program is waited for that has the old file open for writing."""

BOX = "box"
"""Name of the new file beside the old one."""

_OLD = re.compile(r"old\.\d{1,19}\.[0-9a-f]{8}([0-9a-f]{1,16})?(\.\d{1,19})?")
"""Name of the old file after the exchange: how many bytes of it are in the new one, which file that
is, and how many bytes it had when what came late began to be delivered."""
_PAUSE = 0.02


class Endings:
    """Ends the exchanges of a mailbox.

    Args:
        folders: whose files were exchanged.
        waiting: knows where the old ones are kept.
    """

    def __init__(self, folders: MboxFolders, waiting: Waiting) -> None:
        self._folders = folders
        self._waiting = waiting
        self._unended: list[DirectoryEntry] = []

    def remember(self, file: DirectoryEntry) -> None:
        """Has ``end_all`` look again, where a program still has the old file open."""
        with contextlib.suppress(MessageVanished):
            self._unended += [file] if _kept(self._waiting.directory(file)) else []

    def settle(self, intents: Sequence[Intent]) -> None:
        """Ends the exchanges that an earlier run left, and removes what it had begun.

        Args:
            intents: of that run.
        """
        for file, beside in list(self._folders.besides()):
            if not is_regular(file):
                if self._folders.only is None or self._is_of_only(beside, intents):
                    self._end_of_renamed(file, beside, intents)
                    self._waiting.remove_directory(file)
                continue
            durable.unlink(beside / BOX, "mbox.discard", missing_ok=True)
            self.end_exchange(file)
            self._waiting.remove_directory(file)
            if is_regular(lock_of(file)):
                # Of a killed run, for which others may wait; else its holder is waited for later.
                with contextlib.suppress(Locked), locked(file):
                    pass

    def _is_of_only(self, beside: Directory, intents: Sequence[Intent]) -> bool:
        """Whether what waits for a file that is gone waits for the only one, by its name then."""
        with beside.scan() as entries:
            names = {entry.name for entry in entries}
        if any(not names.isdisjoint(names_of(intent)) for intent in intents):
            return True
        status = (self._folders.root / str(self._folders.only)).lstat()
        return any(
            _new_of(name) == status.st_ino or os.path.samestat((beside / name).lstat(), status)
            for name in filter(_OLD.fullmatch, names)
        )

    def _end_of_renamed(
        self, file: DirectoryEntry, beside: Directory, intents: Sequence[Intent]
    ) -> None:
        """Ends the exchange of a folder whose file has another name, or none, since then."""
        durable.unlink(beside / BOX, "mbox.discard", missing_ok=True)
        for intent in intents:
            self._waiting.remove(intent, beside)
        remove_stale_lock(file)
        with contextlib.suppress(FileNotFoundError):
            file.lstat()
            return  # something that is no file, which is its owner's to explain
        for name in _kept(beside):
            with open_regular_file(beside / name) as old:
                status = os.fstat(old.fileno())
                if status.st_nlink == 1 and status.st_size > _known(name):
                    make_box(self._folders, file)  # as the delivery would have that came late
                    self.end_exchange(file)
                    return
                # With another name it is the folder itself: a run was killed before the exchange.
                if status.st_nlink > 1 or not is_open_for_writing(old.fileno()):
                    durable.unlink(beside / name, "mbox.discard-old")

    def end_all(self) -> None:
        """Ends, where that can be done at once, what programs kept open when it was to end."""
        for file in self._unended:
            self.end_exchange(file, waits=False)
        self._unended.clear()

    def end_exchange(self, file: DirectoryEntry, *, waits: bool = True) -> None:
        """Delivers what came late into an old file, and removes it.

        Args:
            file: the folder's.
            waits: whether a program is waited for that may still write to it.
        """
        with contextlib.suppress(MessageVanished):
            beside = self._waiting.directory(file)
            if _kept(beside):
                self._wait(beside, PATIENCE if waits else 0)
                with locked(file):
                    self.end(file, beside)

    def _wait(self, beside: Directory, patience: float) -> None:
        until = time.monotonic() + patience
        for name in _kept(beside):
            with contextlib.suppress(OSError), open_regular_file(beside / name) as old:
                # Where it cannot be told, all the time is waited.
                while is_open_for_writing(old.fileno()) is not False:
                    if time.monotonic() >= until:
                        break
                    time.sleep(_PAUSE)

    def end(self, file: DirectoryEntry, beside: Directory, *, waits: bool = False) -> None:
        """The same; the file is locked."""
        self._wait(beside, PATIENCE if waits else 0)
        for name in _kept(beside):
            kept = beside / name
            with open_regular_file(kept) as old:
                self._folders.check_owner(kept, os.fstat(old.fileno()))
                size = os.fstat(old.fileno()).st_size
                if size > _known(name) and not _is_same(file, old):
                    kept = self._deliver(file, kept, old.fileno(), size)
                # The same file: a run was killed before the exchange.
                if _is_same(file, old) or not is_open_for_writing(old.fileno()):
                    durable.unlink(kept, "mbox.discard-old")
        durable.sync_directories([beside], "mbox.ended")

    def _deliver(
        self, file: DirectoryEntry, kept: DirectoryEntry, old: int, size: int
    ) -> DirectoryEntry:
        """Appends what came late; what a killed run appended of it is there.

        Returns:
            The old file by the name that says so.
        """
        beside, known = kept.directory, _known(kept.name)
        with os.fdopen(file.open(os.O_RDWR | os.O_APPEND), "ab") as new:
            status = os.fstat(new.fileno())
            self._folders.check_owner(file, status)
            begun = _begun(kept.name)
            if begun is None:
                begun = status.st_size
                noted = beside / f"{kept.name}.{begun}"
                durable.rename(kept, noted, "mbox.begin")
                durable.sync_directories([beside], "mbox.begin")
                kept = noted
            _append_late(Reader(old, size), known, new, begun, status.st_size)
            new.flush()
            durable.sync_files([new], "mbox.deliver")
        delivered = beside / old_name(size, status.st_ino)
        durable.rename(kept, delivered, "mbox.delivered")
        durable.sync_directories([beside], "mbox.delivered")
        return delivered


def _append_late(old: Reader, known: int, new: BinaryIO, begun: int, size: int) -> None:
    """Appends to a file what it lacks of the end of another one.

    Args:
        old: the other one.
        known: bytes of it that need not be appended.
        new: open to append to, and to read.
        begun: its bytes before any of that was appended.
        size: its bytes now: others may have written there since as well.
    """
    there = Reader(new.fileno(), size)
    start = _end_of_tail(old, known)
    gap = b""
    if start > known or is_separator(old, known):
        gap = missing_end(Reader(new.fileno(), begun), is_last=True)
    else:
        start = known  # the rest of a message that was being written without a lock
    done = _equal_bytes(there, begun, gap, old, start)
    if done == len(gap) + old.size - start:
        return
    if begun + done == size:
        crashpoint("mbox.deliver")
        new.write(gap[done:])
        _append(old, new, start + max(done - len(gap), 0), old.size)
        return
    # Others wrote there since: what is missing is told by name, and how often it is there.
    present, every = read_index(new.fileno()), read_index(old.descriptor)
    for number in range(len(every)):
        first = max(every.starts[number], start)
        is_there = every.ends[number] <= start + done - len(gap)
        if every.ends[number] > start and not is_there and present.find(every.key(number)) is None:
            crashpoint("mbox.deliver")
            new.write(missing_end(Reader(new.fileno(), size), is_last=True))
            _append(old, new, first, every.ends[number])
            new.flush()
            size = os.fstat(new.fileno()).st_size


def _equal_bytes(new: Reader, begun: int, gap: bytes, old: Reader, start: int) -> int:
    """How much of a gap, and of a file from a place on, stands in another one."""
    if new.read(begun, begun + len(gap)) != gap:
        return 0
    place, done = begun + len(gap), 0
    while True:
        ours = old.read(start + done, start + done + COPY_BLOCK)
        theirs = new.read(place + done, place + done + len(ours))
        if not ours or ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=False))
            same = next((n for n, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
            return len(gap) + done + same
        done += len(ours)


def _end_of_tail(reader: Reader, start: int) -> int:
    """Where the first line begins that is not empty."""
    while reader.read(start, start + 1) in {b"\r", b"\n"}:
        start += 1
    return start


def _append(source: Reader, target: BinaryIO, start: int, end: int) -> None:
    """Copies what the kernel does not, since the file was opened to append to."""
    places = range(start, end, COPY_BLOCK)
    target.writelines(source.read(place, min(place + COPY_BLOCK, end)) for place in places)


def old_name(size: int, new: int) -> str:
    """What an old file is called after the exchange.

    Args:
        size: bytes of it that are in the new file.
        new: inode of that file.
    """
    return f"old.{size}.{os.urandom(4).hex()}{new:x}"


def _kept(beside: Directory) -> list[str]:
    with beside.scan() as entries:
        return sorted(entry.name for entry in entries if _OLD.fullmatch(entry.name))


def _known(name: str) -> int:
    return int(name.split(".")[1])


def _new_of(name: str) -> int | None:
    inode = name.split(".")[2][8:]
    return int(inode, 16) if inode else None


def _begun(name: str) -> int | None:
    *_, last = name.split(".")
    return int(last) if name.count(".") > 2 else None


def _is_same(file: DirectoryEntry, old: BinaryIO) -> bool:
    try:
        return os.path.samestat(file.lstat(), os.fstat(old.fileno()))
    except FileNotFoundError:
        return False


def missing_end(reader: Reader, *, is_last: bool) -> bytes:
    """What a file lacks of the empty line before a further message."""
    tail = reader.read(max(reader.size - 3, 0), reader.size)
    if not tail or not is_last or tail.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"


def make_box(folders: MboxFolders, file: DirectoryEntry) -> None:
    """Makes the file of a folder, where there is none."""
    with contextlib.suppress(FileExistsError):
        with durable.new_file(file) as stream:
            crashpoint("mbox.folder")
            owner = folders.owner_status()
            Inheritance(owner.st_uid, owner.st_gid, 0o600).give(stream.fileno())
        durable.sync_directories([file.directory], "mbox.folder")
