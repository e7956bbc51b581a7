"""Removes old copies whose new ones stand (RFC 4315; RFC 7162 where the server has that).

Never EXPUNGE, which would remove what others marked as well, and never CLOSE. That an old copy
is about to be marked is noted before: after a kill the mark that lies there is known for ours.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TypeVar

from sectool.crashpoints import crashpoint
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSpace,
    ReadOnlyMailbox,
    ServerUnavailable,
)
from sectool.mailbox.base import Merge, Note, Placed
from sectool.mailbox.imap.download import uid_of, validity_of
from sectool.mailbox.imap.encoder import uid_set
from sectool.mailbox.imap.fetched import Fetched
from sectool.mailbox.imap.opening import FULL, NoSuchFolder, Open, OpenFolder, command, kept, look
from sectool.mailbox.imap.profiles import Profile
from sectool.message import Flags, MessageRef
from sectool.values import dataclass

Entry = TypeVar("Entry")

ROUNDS = 5
"""Looks at one message whose flags somebody changes again and again."""

_MARK = "+FLAGS.SILENT (\\Deleted)"
_UNMARK = "-FLAGS.SILENT (\\Deleted)"
_MODIFIED = re.compile(r"MODIFIED ([\d:,]+)", re.IGNORECASE)


@dataclass(slots=True)
class _Pair:
    """An old copy and its new one."""

    placed: Placed
    merge: Merge | None = None
    """Of the flags as they were seen last."""
    is_noted: bool = False
    """Whether the log takes a mark on the old copy for ours."""
    is_marked: bool = False
    """Whether the old copy was marked a moment ago."""

    @property
    def old(self) -> MessageRef:
        return self.placed.written.intent.replaced

    @property
    def has_our_mark(self) -> bool:
        """Whether an earlier run may have marked the old copy to remove it."""
        told = self.placed.written.intent.told
        return told is not None and told.deleted and not self.placed.written.flags.deleted

    @property
    def is_by_append(self) -> bool:
        """Whether the new copy came by the intent, and the old one was there before.

        Where a new copy is to go and the old one stays, they change places.
        """
        where = self.placed.written.intent.where
        return may_have_come(where, self.placed.ref) and not may_have_come(where, self.old)


@dataclass(slots=True)
class Retiring:
    """One batch of old copies on their way out.

    Args:
        open_folder: opens folders.
        note: told of flags and marks before they are set.
        profile: of the server.
        drops_keywords: whether keywords may be lost that a folder does not keep.
    """

    open_folder: Open
    note: Note
    profile: Profile
    drops_keywords: bool = False
    _answers: dict[MessageRef, Placed | MessageError] = field(default_factory=dict)

    def retire(self, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        """Removes the old copies that are there as they were, of new ones that are there.

        Raises:
            ReadOnlyMailbox: the server does not remove messages.
            ServerUnavailable: the connection is lost; what came of it is not known.
        """
        pairs = [_Pair(copy) for copy in placed]
        for _ in range(ROUNDS):
            pairs = self._round(pairs)
            if not pairs:
                break
        for pair in pairs:
            self._fail(pair, MessageChanged("its flags change without end"))
        return [self._answers[copy.written.intent.replaced] for copy in placed]

    def _round(self, pairs: list[_Pair]) -> list[_Pair]:
        """Those whose flags somebody changed meanwhile."""
        seen = self._look([ref for pair in pairs for ref in (pair.placed.ref, pair.old)])
        pairs = [pair for pair in pairs if self._merges(pair, seen)]
        self._note(pairs)
        again: list[_Pair] = []
        try:
            self._carry_over(pairs)
            for name, several in _by_folder(pairs, lambda pair: pair.old):
                again += self._marked_and_removed(name, several, seen)
        except (ReadOnlyMailbox, NoSpace) as refusal:
            self._withdraw([pair for pair in pairs if pair.old not in self._answers])
            if self.profile.hides:
                raise NoSpace(refusal.message, hint=FULL) from refusal
            raise
        return again

    def _fail(self, pair: _Pair, error: MessageError) -> None:
        """Nothing was removed, and a mark that turns up from now on is somebody else's."""
        self._answers[pair.old] = error
        if pair.has_our_mark or pair.is_marked:
            unmark(self.open_folder, pair.old)
        written, merge = pair.placed.written, pair.merge
        if pair.is_noted and merge is not None:
            self.note([replace(merge, old=merge.old.unmarked)])
        elif pair.has_our_mark and written.intent.told is not None:
            told = written.intent.told.unmarked
            self.note([Merge(written.intent, written.flags, told, told)])

    # --- looking --------------------------------------------------------------------------

    def _look(self, refs: Iterable[MessageRef]) -> dict[MessageRef, Fetched]:
        seen: dict[MessageRef, Fetched] = {}
        for name, several in _by_folder(set(refs), lambda ref: ref):
            seen.update(look(self.open_folder, name, several))
        return seen

    def _merges(self, pair: _Pair, seen: Mapping[MessageRef, Fetched]) -> bool:
        try:
            pair.merge = self._merged(pair, seen)
        except MessageError as error:
            self._fail(pair, error)
            return False
        return True

    def _merged(self, pair: _Pair, seen: Mapping[MessageRef, Fetched]) -> Merge:
        written = pair.placed.written
        if pair.old.key != written.intent.revision:
            raise MessageChanged(f"the message {pair.old} is not the one that was read before")
        if (old := seen.get(pair.old)) is None:
            raise MessageVanished(f"the message {pair.old} is no longer there")
        flags = old.flags.unmarked if pair.has_our_mark else old.flags
        new = self._new(pair, seen)
        if pair.is_by_append and new.internal_date != old.internal_date:
            self._withdraw([pair])
            raise MessageError("the server does not give the new copy the date of the old one")
        if forgotten := self.profile.forgets - new.flags.system:
            # The copy may be of a run that was killed before it could set them.
            had = Flags(written.flags.system - forgotten, written.flags.keywords)
            written = replace(written, flags=had)
        return written.merged(old=flags, new=new.flags)

    @staticmethod
    def _new(pair: _Pair, seen: Mapping[MessageRef, Fetched]) -> Fetched:
        """The new copy, which is to stay.

        Raises:
            MessageError: it is not there, or somebody does not want it.
        """
        ref = pair.placed.ref
        if (new := seen.get(ref)) is None or ref.key != pair.placed.revision:
            raise MessageVanished(f"the new copy {ref} is no longer there")
        # Who marks one of two copies wants the other one.
        if new.flags.deleted and not pair.placed.written.flags.deleted:
            raise MessageChanged(f"the new copy {ref} was marked as deleted")
        return new

    # --- changing -------------------------------------------------------------------------

    def _note(self, pairs: Sequence[_Pair]) -> None:
        merges = []
        for pair in pairs:
            assert pair.merge is not None
            merges.append(replace(pair.merge, old=pair.merge.old.marked))
            pair.is_noted = True
        if merges:
            self.note(merges)

    def _carry_over(self, pairs: list[_Pair]) -> None:
        """Gives new copies what was set or cleared on the old ones."""
        changes: dict[tuple[str, str, Flags], list[_Pair]] = defaultdict(list)
        for pair in list(pairs):
            merge = pair.merge
            assert merge is not None
            added, removed = _less(merge.old, merge.base), _less(merge.base, merge.old)
            _, folder = self.open_folder(pair.placed.ref.folder)
            try:
                added = kept(folder, added, drops_keywords=self.drops_keywords)
            except MessageError as error:
                self._fail(pair, error)
                pairs.remove(pair)
                continue
            for sign, flags in (("+", added), ("-", removed)):
                if flags != Flags():
                    changes[pair.placed.ref.folder, sign, flags].append(pair)
        for (name, sign, flags), several in changes.items():
            server, folder = self.open_folder(name)
            uids = _uids_in(folder, (pair.placed.ref for pair in several))
            crashpoint("imap.flag.before")
            command(server, name, f"UID STORE {uid_set(uids)} {sign}FLAGS.SILENT ({flags})")
            crashpoint("imap.flag.after")
        for pair in pairs:
            assert pair.merge is not None
            written = pair.placed.written.carried(pair.merge)
            if pair.has_our_mark:
                told = pair.merge.old.marked
                written = replace(written, intent=replace(written.intent, told=told))
            pair.placed = replace(pair.placed, written=written)

    def _withdraw(self, pairs: Sequence[_Pair]) -> None:
        """Removes new copies whose old ones stay, as far as the server lets them go."""
        left = self._look(pair.old for pair in pairs)
        twice = [pair.placed.ref for pair in pairs if pair.old in left and pair.is_by_append]
        for name, several in _by_folder(twice, lambda ref: ref):
            server, folder = self.open_folder(name)
            uids = _uids_in(folder, several)
            with contextlib.suppress(ReadOnlyMailbox, NoSpace):
                command(server, name, f"UID STORE {uid_set(uids)} {_MARK}")
                self._expunge(name, several)

    def _marked_and_removed(
        self, name: str, pairs: list[_Pair], seen: Mapping[MessageRef, Fetched]
    ) -> list[_Pair]:
        changed = self._mark(name, pairs, seen)
        marked = [pair for pair in pairs if pair not in changed]
        now = self._look(ref for pair in marked for ref in (pair.placed.ref, pair.old))
        for pair in marked:
            pair.is_marked = True
            try:
                self._new(pair, now)
                if pair.old not in now:  # somebody moved it, or removed it
                    raise MessageVanished(f"the message {pair.old} is no longer there")
            except MessageError as error:
                self._fail(pair, error)
            else:
                if now[pair.old].flags != seen[pair.old].flags.marked:
                    unmark(self.open_folder, pair.old)
                    pair.is_marked = False
                    changed.append(pair)
        marked = [pair for pair in marked if pair.is_marked and pair.old not in self._answers]
        if marked:
            self._expunge(name, [pair.old for pair in marked])
        left = self._look(pair.old for pair in marked)
        for pair in marked:
            if pair.old in left:
                self._fail(pair, MessageError("the server did not remove its old copy"))
            else:
                self._answers[pair.old] = pair.placed
        return changed

    def _mark(
        self, name: str, pairs: list[_Pair], seen: Mapping[MessageRef, Fetched]
    ) -> list[_Pair]:
        """Marks old copies that are as they were seen; answers the others."""
        _, folder = self.open_folder(name)
        changed: list[_Pair] = []
        unless = ""
        changes = [seen[pair.old].change or 0 for pair in pairs]
        if folder.counts_changes and all(changes):
            unless = f" (UNCHANGEDSINCE {max(changes)})"
        else:
            now = self._look(pair.old for pair in pairs)
            changed = [
                pair
                for pair in pairs
                if pair.old not in now or now[pair.old].flags != seen[pair.old].flags
            ]
        server, folder = self.open_folder(name)
        uids = _uids_in(folder, (pair.old for pair in pairs if pair not in changed))
        if not uids:
            return changed
        crashpoint("imap.mark.before")
        mark = f"UID STORE {uid_set(uids)}{unless} {_MARK}"
        status = command(server, name, mark, passes=_MODIFIED)
        crashpoint("imap.mark.after")
        modified = set(_changed(status.code, uids))
        return changed + [pair for pair in pairs if uid_of(pair.old) in modified]

    def _expunge(self, name: str, refs: Iterable[MessageRef]) -> None:
        server, folder = self.open_folder(name)
        uids = _uids_in(folder, refs)
        crashpoint("imap.expunge.before")
        try:
            command(server, name, f"UID EXPUNGE {uid_set(uids)}")
        except (ReadOnlyMailbox, NoSpace):
            command(server, name, f"UID STORE {uid_set(uids)} {_UNMARK}")
            raise
        crashpoint("imap.expunge.after")


def _uids_in(folder: OpenFolder, refs: Iterable[MessageRef]) -> list[int]:
    """The numbers of messages in a folder that is open, for a command that changes them.

    Raises:
        ServerUnavailable: the folder was made anew since they were looked at, so that its
            messages have other numbers, and these are others' messages now.
    """
    refs = list(refs)
    if any(validity_of(ref) != folder.validity for ref in refs):
        raise ServerUnavailable(f"the folder {folder.name} was made anew meanwhile")
    return sorted({uid_of(ref) for ref in refs})


def may_have_come(where: str, ref: MessageRef) -> bool:
    """Whether a message of a folder that was not made anew came since an intent noted ``where``."""
    validity, first, _ = where.split(":") if where else ("0", "0", "")
    return validity_of(ref) == int(validity) != 0 and uid_of(ref) >= int(first)


def unmark(open_folder: Open, ref: MessageRef) -> None:
    """Takes the mark off a copy that an earlier run was about to remove, where it is there."""
    try:
        server, folder = open_folder(ref.folder)
    except NoSuchFolder:
        return
    if validity_of(ref) == folder.validity:
        crashpoint("imap.unmark.before")
        command(server, ref.folder, f"UID STORE {uid_of(ref)} {_UNMARK}")
        crashpoint("imap.unmark.after")


def _by_folder(
    entries: Iterable[Entry], ref_of: Callable[[Entry], MessageRef]
) -> Iterator[tuple[str, list[Entry]]]:
    ordered = sorted(entries, key=lambda entry: ref_of(entry).folder)
    for name, several in itertools.groupby(ordered, key=lambda entry: ref_of(entry).folder):
        yield name, list(several)


def _less(flags: Flags, others: Flags) -> Flags:
    return Flags(flags.system - others.system, flags.keywords - others.keywords)


def _changed(code: str, among: Iterable[int]) -> list[int]:
    """UIDs of those that somebody changed since they were looked at (RFC 7162 section 3.1.3)."""
    told = _MODIFIED.match(code)
    if told is None:
        return []
    spans = [part.partition(":") for part in told[1].split(",") if part]
    ranges = [(int(first), int(last or first)) for first, _, last in spans if first]
    return [uid for uid in among if any(low <= uid <= high for low, high in ranges)]
