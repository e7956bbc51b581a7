"""The store of mbox files.

A folder is one file, so what is finished waits beside and comes in by one rename. Knows no MIME
and no CMS. It takes no lock to read; to write a folder it takes those that deliveries take, for as
long as that lasts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.directories import Directory, DirectoryEntry, is_regular
from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSuchMailbox,
    ReadOnlyMailbox,
    SectoolError,
    why_unread,
)
from sectool.locks import DirectoryLock, is_held
from sectool.mailbox.access import MailboxSpecification
from sectool.mailbox.base import (
    Add,
    Capabilities,
    Mailbox,
    Note,
    Placed,
    Replace,
    Retirement,
    Unit,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.files.folders import NOTHING_THERE
from sectool.mailbox.files.names import printable
from sectool.mailbox.mbox.boxes import Boxes, Located, MboxContent, answer
from sectool.mailbox.mbox.folders import MboxFolders, holds_mbox, imap_host, is_mbox
from sectool.mailbox.mbox.locking import HeldFile
from sectool.mailbox.mbox.rewriting import Rewriter
from sectool.mailbox.mbox.thunderbird import check_profile
from sectool.mailbox.mbox.waiting import (
    REMOVED,
    Waiting,
    digest_in,
    where_of,
    whole_name,
    written_name,
)
from sectool.message import (
    IN_MEMORY,
    NOTHING,
    BytesContent,
    Content,
    Flags,
    Intent,
    Listing,
    MessageRef,
    StoredMessage,
)
from sectool.trust import Trust, person

KIND = "mbox"

_BESIDE = ""
"""Hint of what lies beside: no listing has it."""


class Mbox(Mailbox):
    """One mbox file, or a tree of them.

    Args:
        specification: of kind ``mbox``; its location is the file or the directory.

    Raises:
        NoSuchMailbox: there is neither.
    """

    def __init__(self, specification: MailboxSpecification) -> None:
        self.specification = specification
        self._path = Path(specification.location)
        with durable.explained(f"look at {self._path}", denied=NoSuchMailbox):
            root, only = _open_root(self._path)
            self._folders = MboxFolders(root, only)
            self._held = None if only is None else HeldFile(root / only)
            self.capabilities = Capabilities(
                writable=_is_writable(root, only),
                unit=Unit.FOLDER,
                retirement=Retirement.RENAME,
            )
        self._boxes = Boxes(self._folders)
        self._waiting = Waiting(self._folders)
        self._rewriter = Rewriter(self._boxes, self._waiting, self._held)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            lock = self._held or DirectoryLock(self._folders.root, what="mailbox")
            stack.enter_context(lock)
            check_profile(self._path)
            yield

    def lock(self) -> AbstractContextManager[object]:
        """Keeps other runs of this program out of the mailbox; mail programs do not notice it.

        Raises:
            Locked: on entering, when another run holds it, or Thunderbird is at work on it.
        """
        return self._locked()

    def is_in_use(self) -> bool:
        return self._held.is_held() if self._held else is_held(self._folders.root / ".")

    passed_over_hint = (
        "links are not followed: name what they lead to as a mailbox of its own;"
        " give the file for which a directory .NAME.sectool waits its name again, or remove that"
    )

    @property
    def passed_over(self) -> Sequence[str]:
        return tuple(skipped.path for skipped in self._folders.skipped if skipped.may_be_mail)

    # --- reading -----------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        with durable.explained(f"list {self._path}", denied=MailboxError):
            yield from self._folders.names()

    def walk(self, folder: str) -> Iterator[Listing]:
        if not self._folders.knows(folder):
            raise MailboxError(
                f"the mailbox has no folder {folder}", hint="`sectool scan` shows the folders"
            )
        try:
            index = self._boxes.index(folder)
        except MessageError as error:
            raise MailboxError(error.message, hint=error.hint) from error
        for number in range(len(index)):
            yield Listing(
                MessageRef(folder, index.key(number)),
                index.sizes[number],
                index.flags(number),
                index.hint(number),
                index.date(number),
            )

    def fetch(self, ref: MessageRef) -> StoredMessage:
        with self._boxes.located(ref) as found:
            layout = found.layout
            content: Content = MboxContent(ref, layout.size, found.digest, self._boxes)
            if layout.size <= IN_MEMORY:
                content = BytesContent(self._bytes(ref, found))
                if content.digest != found.digest:
                    raise MessageVanished(f"the message {ref} was changed while it was read")
            return StoredMessage(
                ref, content, layout.header.flags, layout.header.internal_date(layout.line)
            )

    @staticmethod
    def _bytes(ref: MessageRef, found: Located) -> bytes:
        try:
            parts = [found.reader.read(*part) for part in found.layout.ranges]
        except OSError as error:
            raise MessageError(f"the message {ref} cannot be read: {error}") from error
        return b"".join(parts) + (b"" if found.layout.is_ended else b"\n")

    def free_bytes(self) -> int | None:
        try:
            return durable.free_bytes(self._folders.root.descriptor)
        except OSError:
            return None

    def overlaps(self, path: Path) -> bool:
        # Not resolve(), to which links in a circle are no OSError.
        other, own = (Path(os.path.realpath(each)) for each in (path, self._path))
        return other.is_relative_to(own) or own.is_relative_to(other)

    # --- writing -------------------------------------------------------------------

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        with durable.explained("read the new copies"):
            return [self._intent(change) for change in changes]

    def _intent(self, change: Replace | Add) -> Intent:
        content = change.content
        where = where_of(content)
        if isinstance(change, Add):
            folder = change.folder if self._folders.only is None else self._folders.names()[0]
            date = change.internal_date
            return Intent(NOTHING, "", folder, where, content.digest, content.size, date)
        flags = answer(self._flags, change.ref)
        return Intent(
            *(change.ref, change.revision, change.ref.folder, where, content.digest, content.size),
            flags=Flags() if isinstance(flags, MessageError) else flags,
        )

    def _flags(self, ref: MessageRef) -> Flags:
        with self._boxes.located(ref) as found:
            return found.layout.header.flags

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self._require_writable()
        try:
            with durable.explained("write to the mailbox"):
                return [answer(self._write, *entry) for entry in intended]
        except BaseException:
            with contextlib.suppress(OSError):
                for intent, _ in intended:
                    self._remove(intent)
            raise

    def _write(self, intent: Intent, content: Content) -> Written:
        if intent.internal_date is None:
            old = self._boxes.examine(intent.replaced, intent.revision)
            if old.layout.hides:
                raise MessageError(
                    "its Content-Length says that what looks like another message is part of it",
                    hint="remove that field, or split the messages with a mail program",
                )
            file = self._folders.entry(intent.folder)
        else:
            file = self._folders.entry_of_new(intent.folder)
        self._waiting.write(intent, content, file)
        return Written.as_intended(intent)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self._require_writable()
        with durable.explained("make the new copies durable"):
            answers = self._read_back(written)
        added = [one for one in answers if isinstance(one, Placed) and one.ref == NOTHING]
        placed = iter(self._by_folder(added, self._rewriter.add))
        return [
            next(placed) if isinstance(one, Placed) and one.ref == NOTHING else one
            for one in answers
        ]

    def _read_back(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        folders = {copy.intent.folder for copy in written}
        beside = {folder: answer(self._beside, folder) for folder in folders}
        with ExitStack() as stack:
            opened = [
                answer(self._open, copy.intent, beside[copy.intent.folder], stack)
                for copy in written
            ]
            streams = [each for each in opened if not isinstance(each, MessageError)]
            read = iter(durable.sync_and_read_back(streams, "mbox.written"))
            answers = [
                each
                if isinstance(each, MessageError)
                else answer(self._place, copy, beside[copy.intent.folder], each, next(read))
                for copy, each in zip(written, opened, strict=True)
            ]
        durable.sync_directories(
            [each for each in beside.values() if isinstance(each, Directory)], "mbox.directory"
        )
        return answers

    def _beside(self, folder: str) -> Directory:
        return self._waiting.directory(self._folders.entry_of_new(folder))

    def _open(self, intent: Intent, beside: Directory | MessageError, stack: ExitStack) -> BinaryIO:
        if isinstance(beside, MessageError):
            raise beside
        return stack.enter_context(self._waiting.open(beside / written_name(intent)))

    def _place(
        self, copy: Written, beside: Directory, stream: BinaryIO, read: durable.ReadBack
    ) -> Placed:
        intent = copy.intent
        try:
            if read.error is not None:
                reason = why_unread(read.error)
                raise MessageError(f"the new copy does not read back: {reason}") from read.error
            self._waiting.layout(stream, intent, read.digest)
            durable.rename(beside / written_name(intent), beside / whole_name(intent), "mbox.place")
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except MessageError:
            self._remove(intent)
            raise
        return Placed(copy, intent.replaced, digest_in(intent), _BESIDE)

    def retire(
        self,
        placed: Sequence[Placed],
        note: Note = note_nothing,  # noqa: ARG002  # nobody sees a new copy before
    ) -> list[Placed | MessageError]:
        self._require_writable()
        return self._by_folder(placed, self._rewriter.replace)

    @staticmethod
    def _by_folder(
        placed: Sequence[Placed],
        act: Callable[[str, Sequence[Placed]], list[Placed | MessageError]],
    ) -> list[Placed | MessageError]:
        """Acts once for all of a folder; answers in the order of the batch."""
        answers: dict[int, Placed | MessageError] = {}
        numbers = sorted(range(len(placed)), key=lambda n: placed[n].written.intent.folder)
        for folder, group in groupby(numbers, key=lambda n: placed[n].written.intent.folder):
            of_folder = list(group)
            with durable.explained(f"write the folder {folder}"):
                done = answer(act, folder, [placed[number] for number in of_folder])
            each = [done] * len(of_folder) if isinstance(done, MessageError) else done
            answers.update(zip(of_folder, each, strict=True))
        return [answers[number] for number in range(len(placed))]

    # --- after a crash ----------------------------------------------------------------

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        with durable.explained("look for the new copies"):
            found = [self._whereabouts(intent) for intent in intents]
            folders = {copy.ref.folder for where in found for copy in where.copies}
            entries = [answer(self._folders.entry, folder) for folder in folders]
            _sync_directories_of(entry for entry in entries if isinstance(entry, DirectoryEntry))
        return found

    def _whereabouts(self, intent: Intent) -> Whereabouts:
        old = answer(self._boxes.examine, intent.replaced, intent.revision)
        copies = answer(self._copies, intent)
        unread = [
            error
            for error in (copies, old)
            if isinstance(error, MessageError)
            and not isinstance(error, (MessageChanged, MessageVanished))
        ]
        found = () if isinstance(copies, MessageError) else copies
        is_there = isinstance(old, Located)
        if not found and is_there and self._is_whole_beside(intent):
            written = Written.as_intended(intent)
            found = (Placed(written, intent.replaced, digest_in(intent), _BESIDE),)
        return Whereabouts(tuple(found), is_there, unread[0] if unread else None)

    def _copies(self, intent: Intent) -> tuple[Placed, ...]:
        """What may be the new copy in its folder, or where it was met."""
        written = Written.as_intended(intent)
        if intent.met is not None:
            index = self._boxes.index(intent.met.folder)
            number = index.find(intent.met.key)
            numbers = [] if number is None else [number]
            folder = intent.met.folder
        elif intent.where:
            folder, digest = intent.folder, digest_in(intent)
            index = self._boxes.index(folder)
            numbers = list(index.with_digest(digest))
        else:
            return ()
        return tuple(
            Placed(
                *(written, MessageRef(folder, index.key(number)), index.digest(number)),
                index.hint(number),
            )
            for number in numbers
        )

    def _is_whole_beside(self, intent: Intent) -> bool:
        if not intent.where or intent.met is not None:
            return False
        try:
            beside = self._waiting.directory(self._folders.entry(intent.folder))
            with self._waiting.open(beside / whole_name(intent)) as stream:
                self._waiting.layout(stream, intent)
        except MessageError:
            return False
        return True

    def settle(self, intents: Sequence[Intent]) -> None:
        if not self.capabilities.writable:
            return
        with durable.explained("end the exchange of a folder that was interrupted"):
            self._folders.names()
            self._rewriter.endings.settle(intents)
            for intent in intents:
                if answer(self._is_left_beside, intent) is True:
                    self._remove(intent)

    def _is_left_beside(self, intent: Intent) -> bool:
        """Whether a new copy came into its folder, or never will, and lies beside all the same."""
        beside = self._waiting.directory(self._folders.entry(intent.folder))
        return is_regular(beside / whole_name(intent)) and not self._whereabouts(intent).old_present

    def abandon(self, intents: Sequence[Intent]) -> None:
        with durable.explained("remove what was written and not placed"):
            self._folders.names()
            for intent in intents:
                self._remove(intent)

    def _remove(self, intent: Intent) -> None:
        """Removes what lies beside of a new copy; its folder may have another name by now."""
        for file, beside in self._folders.besides():
            if answer(self._waiting.remove, intent, beside) is True:
                self._waiting.remove_directory(file)

    def close(self) -> None:
        with contextlib.suppress(SectoolError, OSError):
            self._rewriter.endings.end_all()

    def _require_writable(self) -> None:
        if not self.capabilities.writable:
            raise ReadOnlyMailbox(
                f"the mailbox {self.specification.location} cannot be written",
                hint="check the owner, the mode and the mount options",
            )


def recognises(path: Path) -> bool:
    """Whether a path is an mbox file, or a directory with one in it; never raises.

    Args:
        path: absolute, without links.
    """
    try:
        parent = Directory.at(path.parent)
        if is_regular(parent / path.name):
            return is_mbox(parent / path.name)
        return holds_mbox(parent.child(path.name))
    except (OSError, SectoolError):
        return False


def may_be(path: Path) -> bool:
    """Whether a path may be one where a person says so: any directory, and a file that is empty.

    Args:
        path: absolute, without links.

    Raises:
        OSError: it cannot be told.
    """
    entry = Directory.at(path.parent) / path.name
    return not is_regular(entry) or not entry.lstat().st_size or is_mbox(entry)


def _open_root(path: Path) -> tuple[Directory, str | None]:
    """The directory of a tree; of a single file the one that it lies in, and its name."""
    host = imap_host(path)
    if host is not None:
        raise NoSuchMailbox(
            f"{printable(str(path))} is a cache of {printable(host)}",
            hint="run sectool on that account",
        )
    way = Trust().walk(path, judges_links_only=True)
    if way.missing:
        raise NoSuchMailbox(f"there is no mbox at {printable(str(path))}", hint="check the path")
    parent = Directory.at(way.real.parent)
    entry = parent / way.real.name
    if not is_regular(entry):
        try:
            return Directory.at(way.real), None
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                raise
            raise NoSuchMailbox(
                f"{printable(str(path))} is neither a file nor a directory", hint="check the path"
            ) from error
    if entry.lstat().st_size and not is_mbox(entry):
        raise NoSuchMailbox(
            f"{printable(str(path))} is not an mbox",
            hint="an mbox begins with a line such as `From alice@example.org Mon Jan  1 ...`",
        )
    owner, above = entry.lstat().st_uid, parent.status().st_uid
    if os.geteuid() == 0 and above not in {0, owner}:
        raise NoSuchMailbox(
            f"{printable(str(path))} belongs to {person(owner)}, and its directory to"
            f" {person(above)}, so root leaves it",
            hint="name the mailbox in a directory of its owner",
        )
    return parent, way.real.name


def _sync_directories_of(entries: Iterable[DirectoryEntry]) -> None:
    """Makes names durable; a directory that was opened for each of them is synced once."""
    directories = {entry.directory.path: entry.directory for entry in entries}
    durable.sync_directories(directories.values(), "mbox.directory")


def _is_writable(root: Directory, only: str | None) -> bool:
    # The rights that count are those of the effective user, and its capabilities.
    wanted = {".": os.R_OK | os.W_OK | os.X_OK} | ({only: os.R_OK | os.W_OK} if only else {})
    return all(
        os.access(name, rights, dir_fd=root.descriptor, effective_ids=True)
        for name, rights in wanted.items()
    )
