"""An account that is read and written: what ``Mailbox`` asks for, by the modules beside.

A new copy comes by APPEND and is known by its CMS; the server says which UID it gave it. Until
then an intent notes UIDVALIDITY and UIDNEXT: a copy whose answer was lost lies there or above.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TypeAlias

from sectool.crashpoints import crashpoint
from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    ServerUnavailable,
)
from sectool.mailbox.access import Access
from sectool.mailbox.base import (
    Add,
    Note,
    Placed,
    Replace,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.imap.appending import Appender, Outgoing
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.download import uid_of, validity_of
from sectool.mailbox.imap.encoder import uid_set
from sectool.mailbox.imap.fetched import Collected, Fetched
from sectool.mailbox.imap.folders import TO_WRITE, rights_on
from sectool.mailbox.imap.opening import NoSuchFolder, OpenFolder, command, kept, look
from sectool.mailbox.imap.profiles import GENERIC, Profile
from sectool.mailbox.imap.quota import require_room, require_size
from sectool.mailbox.imap.removed import MOST_WATCHED, Watch, next_uids
from sectool.mailbox.imap.replacing import Retiring, unmark
from sectool.mailbox.imap.store import AccountReader, all_uids
from sectool.message import NOTHING, Content, Flags, Intent, MessageRef
from sectool.values import dataclass

_ANEW = "its folder was made anew meanwhile"

_Came: TypeAlias = tuple[Written, Outgoing, int, int | MessageError | None]
"""What was appended, with UIDVALIDITY, and the UID, or why it was refused; None: not told."""


class IMAPMailbox(AccountReader):
    """One person's account.

    Args:
        access: as ``AccountReader`` takes it.

    Raises:
        LoginRefused: there are no credentials.
    """

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._local: dict[str, Outgoing] = {}
        """What was written and not placed, by the ``where`` of its intent."""
        self._appender: Appender | None = None
        self._silent: set[str] = set()
        """The ``where`` of what the server took without saying credibly where it is."""
        self._had: set[tuple[str, int]] = set()
        """Folders that were open to be written, with their UIDVALIDITY then."""
        self._watch: Watch | None = None
        self._lacking: dict[bytes, str] = {}
        """Rights that a folder would have to give, of those that were asked about."""

    def require_writable(self) -> None:
        server = self._server()
        location = self.specification.url
        if not self._known.is_written:
            raise ReadOnlyMailbox(
                f"the mailbox {location} cannot be written: Gmail removes a label where others"
                " remove a message, and may give back the old one",
                hint="scan, decrypt without --in-place and verify read it",
            )
        if "UIDPLUS" not in server.capabilities:
            raise ReadOnlyMailbox(
                f"the mailbox {location} cannot be written: the server has no UIDPLUS, and"
                " would remove what others marked as well",
                hint="scan, decrypt without --in-place and verify read it",
            )

    @property
    def _known(self) -> Profile:
        """What is known of the server."""
        self._server()
        return self._profile or GENERIC

    # --- opening --------------------------------------------------------------------------

    def _to_write(self, name: str) -> tuple[Connection, OpenFolder]:
        """A connection on which a folder is open to be written.

        Raises:
            NoSuchFolder: it is not there.
            MailboxError: it cannot be opened.
        """
        try:
            server, folder = self._opened_folder(name, for_writing=True)
        except ServerUnavailable:
            raise
        except MailboxError as error:
            if name in {*self.folders(), *self._folders.left}:
                raise
            raise NoSuchFolder(error.message) from error
        self._had.add((name, folder.validity))
        return server, folder

    def _looked_at(self, refs: Sequence[MessageRef]) -> dict[MessageRef, Fetched]:
        seen: dict[MessageRef, Fetched] = {}
        for name in sorted({ref.folder for ref in refs if ref != NOTHING}):
            seen.update(look(self._to_write, name, [ref for ref in refs if ref.folder == name]))
        return seen

    def _require_rights(self, server: Connection, name: str) -> None:
        """Holds that the mail of a folder may be replaced.

        Raises:
            MessageError: it may not.
        """
        folder = self._folder(name)
        if "ACL" not in server.capabilities or folder is None:
            return
        if folder.wire not in self._lacking:
            lacking = TO_WRITE - rights_on(server, folder)
            self._lacking[folder.wire] = " ".join(sorted(lacking))
        if lacks := self._lacking[folder.wire]:
            raise MessageError(f"the folder {name} may not be written: it lacks the rights {lacks}")

    # --- writing --------------------------------------------------------------------------

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        seen = self._looked_at([one.ref for one in changes if isinstance(one, Replace)])
        opened = self._all_opened(map(_folder_of, changes))
        return [_intent(change, seen, opened[_folder_of(change)]) for change in changes]

    def _all_opened(self, names: Iterable[str]) -> dict[str, OpenFolder | None]:
        """What the server tells of folders as it opens them; None: it is not there."""
        opened: dict[str, OpenFolder | None] = {}
        for name in sorted(set(names)):
            try:
                opened[name] = self._to_write(name)[1]
            except NoSuchFolder:
                opened[name] = None
        return opened

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self.require_writable()
        seen = self._looked_at([intent.replaced for intent, _ in intended])
        opened = self._all_opened(intent.folder for intent, _ in intended)
        answers: list[Written | MessageError] = []
        sizes: dict[str, list[int]] = defaultdict(list)
        for intent, content in intended:
            try:
                new = self._outgoing(intent, content, opened[intent.folder], seen)
            except MessageError as error:
                answers.append(error)
            else:
                self._local[intent.where] = new
                sizes[intent.folder].append(new.size)
                answers.append(Written.as_intended(intent))
        for name, several in sizes.items():
            if (folder := self._folder(name)) is not None:
                require_room(self._server(), name, folder.wire, several)
        return answers

    def _outgoing(
        self,
        intent: Intent,
        content: Content,
        folder: OpenFolder | None,
        seen: Mapping[MessageRef, Fetched],
    ) -> Outgoing:
        if intent.where in self._silent:
            raise ReadOnlyMailbox(
                f"the server took a message into the folder {intent.folder}, and does not show it",
                hint="look what the server does with new messages; no old one was removed",
            )
        flags = intent.flags if folder is None else self._flags_kept(folder, intent.flags)
        new = Outgoing.of(content, flags, _date(intent, seen))
        require_size(self._server(), new.size)
        return new

    def _flags_kept(self, folder: OpenFolder, flags: Flags) -> Flags:
        """Flags of a new copy in a folder.

        Raises:
            MessageError: the folder takes none, or the copy would lose some.
        """
        self._require_rights(self._server(), folder.name)
        if folder.is_read_only:
            raise MessageError(f"the server opens the folder {folder.name} only to be read")
        return kept(folder, flags, drops_keywords=self._account.drop_keywords)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self.require_writable()
        answers: dict[str, Placed | MessageError] = {}
        for name in sorted({copy.intent.folder for copy in written}):
            several = [copy for copy in written if copy.intent.folder == name]
            answers.update(self._place_in(name, several))
        if self._silent & {copy.intent.where for copy in written}:
            error = ServerUnavailable("the server does not say where it put new messages")
            error.has_progressed = True
            raise error
        return [answers[copy.intent.where] for copy in written]

    def _place_in(
        self, name: str, written: Sequence[Written]
    ) -> Iterator[tuple[str, Placed | MessageError]]:
        """Brings copies into one folder; what the server is silent about is noted and left out."""
        for copy in written:
            if copy.intent.where not in self._local:
                yield copy.intent.where, MessageVanished("the new copy was never written")
        came = list(self._appended(name, written))
        others = self._others(
            name, {uid: new.date for _, new, _, uid in came if isinstance(uid, int)}
        )
        for copy, _, validity, uid in came:
            if isinstance(uid, MessageError):
                yield copy.intent.where, uid
            elif uid is None or uid in others:
                self._silent.add(copy.intent.where)
            else:
                key = f"{validity}:{uid}"
                yield copy.intent.where, Placed(copy, MessageRef(name, key), key, key)

    def _appended(self, name: str, written: Sequence[Written]) -> Iterator[_Came]:
        """Appends copies to one folder, which is made where an addition needs it."""
        waiting = ((copy, self._local.get(copy.intent.where)) for copy in written)
        ready = [(copy, new) for copy, new in waiting if new is not None]
        while ready:
            try:
                server, folder = self._to_write(name)
            except NoSuchFolder:
                if any(copy.intent.replaced != NOTHING for copy, _ in ready):
                    gone = MessageVanished(f"the folder {name} is gone")
                    yield from ((*one, 0, gone) for one in ready)
                    return
                self._create(name)
                continue
            wire = self._folders.own[name].wire
            appender = self._appender_on(server)
            for uids in appender.append(folder, wire, [new for _, new in ready]):
                for (copy, new), uid in zip(ready, uids, strict=False):
                    del self._local[copy.intent.where]
                    yield copy, new, folder.validity, uid
                del ready[: len(uids)]
                if not server.is_open:
                    break  # what was refused may have been understood as something else

    def _others(self, name: str, dates: Mapping[int, datetime]) -> set[int]:
        """Which UIDs that the server said belong to messages of other dates than were sent."""
        if not dates:
            return set()
        server, _ = self._to_write(name)
        told = Collected(dates)
        items = f"UID FETCH {uid_set(sorted(dates))} (UID INTERNALDATE)"
        command(server, name, items, take=told.take)
        return {uid for uid, found in told.messages.items() if found.internal_date != dates[uid]}

    def _appender_on(self, server: Connection) -> Appender:
        before = self._appender
        if before is None or before.connection is not server:
            is_one_by_one = before is not None and before.is_one_by_one
            self._appender = before = Appender(
                server, keeps_flags=self._known.keeps_flags, is_one_by_one=is_one_by_one
            )
        return before

    def _create(self, name: str) -> None:
        """Makes a folder for additions, and lets programs show it."""
        server = self._server()
        wire = self._folders.prefix + name.encode("ascii")
        crashpoint("imap.create.before")
        try:
            server.ask("CREATE", wire)
            server.ask("SUBSCRIBE", wire)
        except Refused as refused:
            if name not in self.folders():
                raise MailboxError(f"the folder {name} cannot be made: {refused}") from refused
        crashpoint("imap.create.after")
        list(self.folders())

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        self.require_writable()
        if self._watch is None and placed:
            self._watch = self._watch_over(placed[0].written.intent.replaced)
        drops_keywords = self._account.drop_keywords
        answers = Retiring(self._to_write, note, self._known, drops_keywords).retire(placed)
        if (watch := self._watch) is not None and not watch.is_over:
            refs = [copy.written.intent.replaced for copy in placed]
            if watch.ref in refs and isinstance(answers[refs.index(watch.ref)], MessageError):
                self._watch = None  # it was not removed, and may turn up anywhere
        return answers

    def _watch_over(self, ref: MessageRef) -> Watch | None:
        """What to look for once a message is removed; None: it is not there."""
        try:
            digest = self.fetch(ref).content.digest
        except MessageError:
            return None
        return Watch(ref, digest, next_uids(self._server(), self._folders.own.values()))

    def check_removed(self) -> None:
        watch = self._watch
        if watch is None or watch.is_over:
            return
        list(self.folders())
        for name, first in watch.grown(next_uids(self._server(), self._folders.own.values())):
            server, folder = self._opened_folder(name, afresh=True)
            uids = [uid for uid in all_uids(server) if uid >= first][:MOST_WATCHED]
            refs = [MessageRef(name, f"{folder.validity}:{uid}") for uid in uids]
            with closing(self.fetch_ahead([ref for ref in refs if ref != watch.ref])) as ahead:
                watch.check(name, ahead)
        watch.is_over = True

    # --- after a crash --------------------------------------------------------------------

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        places = {name: self._uids_of(name) for name in sorted(_folders_of(intents))}
        return [
            Whereabouts((), old_present=False, unclear=MessageError(_ANEW))
            if self._was_made_anew(intent.replaced, places)
            else _whereabouts(intent, places)
            for intent in intents
        ]

    def _was_made_anew(self, ref: MessageRef, places: Mapping[str, _Place | MessageError]) -> bool:
        """Whether the folder of a message was, since it was open here; the next walk finds both."""
        place = places.get(ref.folder)
        is_there = isinstance(place, _Place) and place.validity not in {0, validity_of(ref)}
        return is_there and (ref.folder, validity_of(ref)) in self._had

    def _uids_of(self, name: str) -> _Place | MessageError:
        try:
            server, folder = self._opened_folder(name, afresh=True)
        except ServerUnavailable:
            raise
        except MailboxError as error:
            if name in {*self.folders(), *self._folders.left}:
                return MessageError(error.message)
            return _Place(0, [])
        return _Place(folder.validity, all_uids(server))

    def abandon(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._local.pop(intent.where, None)
            if intent.told is not None and intent.told.deleted:
                unmark(self._to_write, intent.replaced)


def _folder_of(change: Replace | Add) -> str:
    return change.folder if isinstance(change, Add) else change.ref.folder


def _intent(
    change: Replace | Add, seen: Mapping[MessageRef, Fetched], folder: OpenFolder | None
) -> Intent:
    content, name = change.content, _folder_of(change)
    validity, first = (folder.validity, folder.uid_next) if folder is not None else (0, 1)
    where = f"{validity}:{first}:{os.urandom(8).hex()}"
    if isinstance(change, Add):
        date = change.internal_date
        return Intent(NOTHING, "", name, where, content.digest, content.size, date)
    flags = seen[change.ref].flags if change.ref in seen else Flags()
    return Intent(
        *(change.ref, change.revision, name, where, content.digest, content.size),
        flags=flags.unmarked,
    )


def _date(intent: Intent, seen: Mapping[MessageRef, Fetched]) -> datetime:
    """The date of a new copy: that of the old one, where it is there.

    Raises:
        MessageError: the old one is not as it was, or has no date that can be read.
    """
    if intent.replaced == NOTHING:
        assert intent.internal_date is not None
        return intent.internal_date
    if (old := seen.get(intent.replaced)) is None:
        raise MessageVanished(f"the message {intent.replaced} is no longer there")
    if intent.revision != intent.replaced.key:
        raise MessageChanged(f"the message {intent.replaced} is not the one that was read before")
    if old.flags.deleted:
        raise MessageChanged(f"the message {intent.replaced} is marked as deleted")
    if old.internal_date is None:
        raise MessageError("the server tells no date of it that can be read")
    return old.internal_date


@dataclass(frozen=True, slots=True)
class _Place:
    """What a folder holds."""

    validity: int
    """0: it is not there."""
    uids: Sequence[int]
    """Ascending."""

    def holds(self, ref: MessageRef) -> bool:
        at = bisect_left(self.uids, uid_of(ref))
        is_there = at < len(self.uids) and self.uids[at] == uid_of(ref)
        return is_there and validity_of(ref) == self.validity != 0


def _folders_of(intents: Sequence[Intent]) -> set[str]:
    met = {intent.met.folder for intent in intents if intent.met is not None}
    replaced = {intent.replaced.folder for intent in intents if intent.replaced != NOTHING}
    return met | replaced | {intent.folder for intent in intents}


def _whereabouts(intent: Intent, places: dict[str, _Place | MessageError]) -> Whereabouts:
    old, met = intent.replaced, intent.met
    at_old = places.get(old.folder, _Place(0, []))
    at_new = places[intent.folder if met is None else met.folder]
    for place in (at_old, at_new):
        if isinstance(place, MessageError):
            return Whereabouts((), old_present=False, unclear=place)
    assert isinstance(at_old, _Place)
    assert isinstance(at_new, _Place)
    if met is not None:
        refs = [met] if at_new.holds(met) else []
    else:
        refs = [
            MessageRef(intent.folder, f"{at_new.validity}:{uid}")
            for uid in _came_since(intent.where, at_new)
        ]
    written = Written.as_intended(intent)
    copies = tuple(Placed(written, ref, ref.key, ref.key) for ref in refs)
    return Whereabouts(copies, at_old.holds(old) and intent.revision == old.key)


def _came_since(where: str, place: _Place) -> Iterator[int]:
    """UIDs of a folder that a copy may have whose intent noted ``where``."""
    if not where:
        return
    validity, first, _ = where.split(":")
    # Made anew, or copied back, it has given all mail other numbers.
    least = int(first) if int(validity) == place.validity else 1
    yield from (uid for uid in place.uids if uid >= least)
