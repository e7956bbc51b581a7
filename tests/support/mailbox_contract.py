"""What every store of mail must keep: one class of tests that each store subclasses.

A subclass gives the fixture ``world``: a mailbox seen from outside, through
which a test plays the user, the server and the delivery agent, and which
tells what a mail program would see, by code that shares nothing with the store.
What holds for some kinds of stores alone is in further classes, to be named beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Protocol

import pytest

from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
)
from sectool.mailbox import (
    Add,
    Intent,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Retirement,
    Written,
    open_mailbox,
)
from sectool.message import BytesContent, Flags, MessageRef

OLD = b"From: alice@example.org\nSubject: old\n\nold body\n"
NEW = b"From: alice@example.org\nSubject: old\n\nnew and longer body\n"
DATE = datetime(2011, 3, 4, 5, 6, 7, tzinfo=UTC)
SEEN = Flags(frozenset({"seen"}))
FLAGGED = Flags(frozenset({"seen", "flagged"}))
DELETED = Flags(frozenset({"seen", "deleted"}))


@dataclass(frozen=True)
class Seen:
    """One message as a mail program sees it."""

    folder: str
    raw: bytes
    flags: Flags
    date: datetime


class World(Protocol):
    """One mailbox from outside; not in use by the store under test."""

    @property
    def specification(self) -> MailboxSpecification: ...

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef: ...

    def set_flags(self, ref: MessageRef, flags: Flags) -> None: ...

    def overwrite(self, ref: MessageRef, raw: bytes) -> None: ...

    def remove(self, ref: MessageRef) -> None: ...

    def move(self, ref: MessageRef, folder: str) -> None: ...

    def seen(self) -> list[Seen]:
        """All messages a mail program sees, ordered by their bytes."""

    def hidden(self) -> int:
        """How many copies lie where no mail program sees them."""

    def spoil_staged(self) -> None:
        """Changes the bytes of every copy that waits, as a failing disk would."""


ACTED = (MessageChanged, MessageVanished)
"""Where no name is given to other bytes, what changed is gone."""


def intend(mailbox: Mailbox, refs: Sequence[MessageRef], raw: bytes = NEW) -> list[Intent]:
    content = BytesContent(raw)
    return mailbox.intend([Replace(ref, content, mailbox.fetch(ref).revision) for ref in refs])


def while_placed(mailbox: Mailbox) -> list[bytes]:
    """What is seen of a message whose new copy is placed and whose old one is there."""
    return [OLD] if mailbox.capabilities.retirement is Retirement.RENAME else [NEW, OLD]


def write(mailbox: Mailbox, refs: Sequence[MessageRef], raw: bytes = NEW) -> list[Written]:
    intended = intend(mailbox, refs, raw)
    answers = mailbox.write([(intent, BytesContent(raw)) for intent in intended])
    return [answer for answer in answers if isinstance(answer, Written)]


def place(mailbox: Mailbox, refs: Sequence[MessageRef]) -> list[Placed]:
    return all_placed(mailbox.place(write(mailbox, refs)))


def all_placed(answers: Sequence[Placed | MessageError]) -> list[Placed]:
    placed = [answer for answer in answers if isinstance(answer, Placed)]
    assert len(placed) == len(answers), answers
    return placed


def add(mailbox: Mailbox, *folders: str, raw: bytes = NEW) -> list[Written]:
    """Intends and writes further messages."""
    content = BytesContent(raw)
    intended = mailbox.intend([Add(folder, content, DATE) for folder in folders])
    answers = mailbox.write([(intent, content) for intent in intended])
    return [answer for answer in answers if isinstance(answer, Written)]


def bodies(world: World) -> list[bytes]:
    return [seen.raw for seen in world.seen()]


class _Stores:
    """What tests of all kinds are given."""

    keeps_flags: ClassVar[bool] = True

    def kept(self, flags: Flags) -> Flags:
        """What the store has of flags."""
        return flags if self.keeps_flags else Flags()

    @staticmethod
    def opened_again(world: World) -> Mailbox:
        """As another process opens it."""
        return open_mailbox(world.specification)

    @staticmethod
    def stored(raw: bytes) -> bytes:
        """What a store makes of bytes that are delivered."""
        return raw

    @pytest.fixture
    def mailbox(self, world: World) -> Iterator[Mailbox]:
        with self.opened_again(world) as mailbox:
            yield mailbox

    @pytest.fixture
    def ref(self, world: World) -> MessageRef:
        return world.deliver("INBOX", OLD)


class ReadingContract(_Stores):
    """Of every store, also of one that is never written.

    Subclass as ``Test…`` and give the fixture ``world``.
    """

    def test_the_inbox_is_the_first_folder(self, world: World, mailbox: Mailbox) -> None:
        world.deliver("Archive/2014", OLD)
        world.deliver("Archive", OLD)
        assert list(mailbox.folders()) == ["INBOX", "Archive", "Archive/2014"]

    def test_an_empty_folder_has_no_message(self, mailbox: Mailbox) -> None:
        assert list(mailbox.walk("INBOX")) == []

    def test_a_walk_tells_every_message_once(self, world: World, mailbox: Mailbox) -> None:
        refs = {world.deliver("INBOX", OLD + bytes([65 + i, 10])) for i in range(20)}
        walked = [listing.ref for listing in mailbox.walk("INBOX")]
        assert len(walked) == 20
        assert set(walked) == refs

    def test_a_walk_keeps_to_its_folder(self, world: World, mailbox: Mailbox) -> None:
        world.deliver("INBOX", OLD)
        sent = world.deliver("Sent", OLD)
        assert [listing.ref for listing in mailbox.walk("Sent")] == [sent]

    def test_a_listing_says_what_a_fetch_says(self, world: World, mailbox: Mailbox) -> None:
        ref = world.deliver("INBOX", OLD, flags=FLAGGED)
        (listing,) = mailbox.walk("INBOX")
        stored = mailbox.fetch(ref)
        assert (listing.size, listing.flags) == (stored.content.size, stored.flags)
        assert listing.internal_date == stored.internal_date

    def test_a_folder_that_never_was_is_an_error(self, mailbox: Mailbox) -> None:
        with pytest.raises(MailboxError, match="no folder"):
            list(mailbox.walk("../INBOX"))

    def test_a_hint_stays_while_the_message_stays(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (before,) = mailbox.walk("INBOX")
        world.set_flags(ref, FLAGGED)
        with self.opened_again(world) as again:
            (after,) = again.walk("INBOX")
        assert (before.ref, before.hint) == (after.ref, after.hint)

    def test_a_hint_changes_with_the_bytes(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (before,) = mailbox.walk("INBOX")
        world.overwrite(ref, NEW)
        (after,) = mailbox.walk("INBOX")
        assert before.hint != after.hint

    def test_a_fetch_gives_bytes_flags_date_and_revision(
        self, world: World, mailbox: Mailbox
    ) -> None:
        stored = mailbox.fetch(world.deliver("Sent", OLD, flags=FLAGGED))
        with stored.content.open() as stream:
            assert stream.read() == self.stored(OLD)
        assert stored.flags == self.kept(FLAGGED)
        assert stored.internal_date == DATE

    def test_a_revision_stays_while_only_flags_change(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        before = mailbox.fetch(ref).revision
        world.set_flags(ref, FLAGGED)
        with self.opened_again(world) as again:
            assert again.fetch(ref).revision == before

    def test_content_can_be_opened_twice(self, mailbox: Mailbox, ref: MessageRef) -> None:
        content = mailbox.fetch(ref).content
        for _ in range(2):
            with content.open() as stream:
                assert stream.read() == self.stored(OLD)

    @pytest.mark.parametrize("gone", [MessageRef("INBOX", "never"), MessageRef("No", "never")])
    def test_a_message_that_is_not_there_has_vanished(
        self, mailbox: Mailbox, gone: MessageRef
    ) -> None:
        with pytest.raises(MessageVanished):
            mailbox.fetch(gone)

    def test_a_message_removed_meanwhile_has_vanished(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        list(mailbox.walk("INBOX"))
        world.remove(ref)
        with pytest.raises(MessageVanished):
            mailbox.fetch(ref)

    def test_what_is_fetched_ahead_is_what_a_fetch_gives(
        self, world: World, mailbox: Mailbox
    ) -> None:
        refs = [world.deliver(folder, OLD) for folder in ("INBOX", "Sent", "INBOX")]
        never = MessageRef("INBOX", "never")
        ahead = mailbox.fetch_ahead([*refs, never])
        for ref in refs:
            found, stored = ahead.fetch(ref), mailbox.fetch(ref)
            assert found.content.digest == stored.content.digest
            assert (found.flags, found.internal_date) == (stored.flags, stored.internal_date)
            assert found.revision == stored.revision
        with pytest.raises(MessageVanished):
            ahead.fetch(never)
        assert mailbox.fetch_ahead(refs, 5).head(refs[0], 5).raw == OLD[:5]
        ahead.close()


class MessageContract(ReadingContract):
    """Of stores with or without flags: subclass as ``Test…`` and give the fixture ``world``."""

    # --- a whole replacement -----------------------------------------------------

    def test_a_replacement_leaves_one_message_with_the_new_bytes(
        self, world: World, mailbox: Mailbox
    ) -> None:
        ref = world.deliver("Sent", OLD, flags=FLAGGED)
        placed = place(mailbox, [ref])
        (answer,) = mailbox.retire(placed)
        assert isinstance(answer, Placed)
        assert world.seen() == [Seen("Sent", NEW, self.kept(FLAGGED), DATE)]
        assert world.hidden() == 0

    def test_the_answer_of_retire_names_what_a_walk_lists(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (answer,) = mailbox.retire(place(mailbox, [ref]))
        (listing,) = self.opened_again(world).walk("INBOX")
        assert isinstance(answer, Placed)
        assert (answer.ref, answer.hint) == (listing.ref, listing.hint)
        assert answer.revision == mailbox.fetch(listing.ref).revision

    def test_an_intent_changes_nothing(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (intent,) = intend(mailbox, [ref])
        assert intent.digest == BytesContent(NEW).digest
        assert intent.size == len(NEW)
        assert bodies(world) == [OLD]
        assert world.hidden() == 0

    def test_no_place_is_intended_twice(self, mailbox: Mailbox, ref: MessageRef) -> None:
        intended = intend(mailbox, [ref] * 500) + intend(mailbox, [ref] * 500)
        assert len({(intent.folder, intent.where) for intent in intended}) == 1000

    def test_a_written_copy_is_not_seen(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        write(mailbox, [ref])
        assert bodies(world) == [OLD]
        assert [listing.ref for listing in mailbox.walk("INBOX")] == [ref]

    def test_a_replaced_message_can_be_replaced_again(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (first,) = mailbox.retire(place(mailbox, [ref]))
        assert isinstance(first, Placed)
        (intent,) = intend(mailbox, [first.ref], OLD)
        (staged,) = mailbox.write([(intent, BytesContent(OLD))])
        assert isinstance(staged, Written)
        mailbox.retire(all_placed(mailbox.place([staged])))
        assert world.seen() == [Seen("INBOX", OLD, self.kept(SEEN), DATE)]

    # --- batches --------------------------------------------------------------------

    def test_one_bad_entry_costs_that_entry_only(self, world: World, mailbox: Mailbox) -> None:
        refs = [world.deliver("INBOX", OLD) for _ in range(4)]
        intended = intend(mailbox, refs)
        world.remove(refs[1])
        world.overwrite(refs[2], OLD + b"more\n")
        answers = mailbox.write([(intent, BytesContent(NEW)) for intent in intended])
        assert [type(answers[0]), type(answers[3])] == [Written] * 2
        assert isinstance(answers[1], MessageVanished)
        assert isinstance(answers[2], ACTED)
        staged = [answer for answer in answers if isinstance(answer, Written)]
        mailbox.retire(all_placed(mailbox.place(staged)))
        assert bodies(world) == [NEW, NEW, OLD + b"more\n"]

    def test_retire_answers_in_the_order_of_the_batch(self, world: World, mailbox: Mailbox) -> None:
        refs = [world.deliver("INBOX", OLD) for _ in range(3)]
        placed = place(mailbox, refs)
        world.remove(refs[1])
        answers = mailbox.retire(placed)
        assert [type(answer) for answer in answers] == [Placed, MessageVanished, Placed]
        assert bodies(world) == [NEW] * (1 + len(while_placed(mailbox)))

    def test_empty_batches_are_answered_by_nothing(self, mailbox: Mailbox) -> None:
        assert mailbox.intend([]) == []
        assert mailbox.write([]) == []
        assert mailbox.place([]) == []
        assert mailbox.retire([]) == []
        mailbox.abandon([])

    def test_two_messages_of_the_same_bytes_are_two_replacements(
        self, world: World, mailbox: Mailbox
    ) -> None:
        refs = [world.deliver("INBOX", OLD), world.deliver("Sent", OLD)]
        mailbox.retire(place(mailbox, refs))
        assert sorted((seen.folder, seen.raw) for seen in world.seen()) == [
            ("INBOX", NEW),
            ("Sent", NEW),
        ]

    # --- what others do meanwhile ------------------------------------------------------

    def test_nothing_is_written_for_a_message_that_changed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        intended = intend(mailbox, [ref])
        world.overwrite(ref, OLD + b"!\n")
        (answer,) = mailbox.write([(intended[0], BytesContent(NEW))])
        assert isinstance(answer, ACTED)
        assert world.hidden() == 0

    # --- after a crash --------------------------------------------------------------------

    def test_after_the_intent_nothing_is_found_but_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (intent,) = intend(mailbox, [ref])
        where = self.opened_again(world).find([intent])[0]
        assert (where.copies, where.old_present) == ((), True)

    def test_after_writing_nothing_is_found_but_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = write(mailbox, [ref])
        where = self.opened_again(world).find([staged.intent])[0]
        assert (where.copies, where.old_present) == ((), True)

    def test_after_placing_both_are_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        where = self.opened_again(world).find([placed.written.intent])[0]
        assert [copy.ref for copy in where.copies] == [placed.ref]
        assert where.old_present

    def test_after_retiring_only_the_new_is_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        (answer,) = mailbox.retire([placed])
        (where,) = self.opened_again(world).find([placed.written.intent])
        assert isinstance(answer, Placed)
        assert [(copy.ref, copy.hint) for copy in where.copies] == [(answer.ref, answer.hint)]
        assert not where.old_present

    def test_an_old_copy_that_changed_is_not_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        world.overwrite(ref, OLD + b"!\n")
        assert not mailbox.find([placed.written.intent])[0].old_present

    def test_a_replacement_goes_on_in_another_process(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        world.set_flags(ref, FLAGGED)
        other = self.opened_again(world)
        (where,) = other.find([placed.written.intent])
        other.retire(where.copies)
        assert world.seen() == [Seen("INBOX", NEW, self.kept(FLAGGED), DATE)]

    def test_writing_the_same_intent_again_is_possible(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (first,) = write(mailbox, [ref])
        other = self.opened_again(world)
        (again,) = other.write([(first.intent, BytesContent(NEW))])
        assert again == first
        other.retire(all_placed(other.place([first])))
        assert bodies(world) == [NEW]

    def test_retiring_twice_removes_once(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        placed = place(mailbox, [ref])
        mailbox.retire(placed)
        (answer,) = self.opened_again(world).retire(placed)
        assert isinstance(answer, ACTED)
        assert bodies(world) == [NEW]

    def test_placing_what_was_not_written_has_vanished(
        self, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (intent,) = intend(mailbox, [ref])
        (answer,) = mailbox.place([Written(intent, SEEN)])
        assert type(answer) is MessageVanished

    def test_abandoning_removes_what_was_written(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = write(mailbox, [ref])
        self.opened_again(world).abandon([staged.intent])
        assert world.hidden() == 0
        assert bodies(world) == [OLD]

    def test_abandoning_keeps_what_was_placed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        mailbox.abandon([placed.written.intent])
        assert bodies(world) == while_placed(mailbox)

    # --- further messages -----------------------------------------------------------------

    @pytest.mark.parametrize("folder", ["INBOX", "Recovered"])
    def test_an_addition_comes_into_its_folder_with_its_date_and_no_flag(
        self, world: World, mailbox: Mailbox, folder: str
    ) -> None:
        (answer,) = mailbox.place(add(mailbox, folder))
        assert isinstance(answer, Placed)
        assert world.seen() == [Seen(folder, NEW, Flags(), DATE)]
        assert [listing.ref for listing in mailbox.walk(folder)] == [answer.ref]
        assert folder in self.opened_again(world).folders()

    def test_intending_additions_changes_nothing(self, world: World, mailbox: Mailbox) -> None:
        mailbox.intend([Add("Recovered", BytesContent(NEW), DATE)])
        assert "Recovered" not in mailbox.folders()
        assert (world.seen(), world.hidden()) == ([], 0)

    def test_an_addition_is_not_seen_before_it_is_placed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = add(mailbox, "Recovered")
        assert bodies(world) == [OLD]
        where = mailbox.find([staged.intent])[0]
        assert (where.copies, where.old_present) == ((), False)
        mailbox.abandon([staged.intent])
        assert world.hidden() == 0

    def test_an_addition_is_found_where_it_was_placed(self, world: World, mailbox: Mailbox) -> None:
        staged = add(mailbox, "Recovered", "Recovered")
        mailbox.place(staged)
        other = self.opened_again(world)
        for copy in staged:
            where = other.find([copy.intent])[0]
            assert where.copies
            assert not where.old_present
        assert bodies(world) == [NEW, NEW]

    # --- manners -----------------------------------------------------------------------------

    def test_a_mailbox_that_cannot_be_written_refuses_to_write(
        self, read_only_world: World
    ) -> None:
        (ref,) = [listing.ref for listing in self.opened_again(read_only_world).walk("INBOX")]
        mailbox = self.opened_again(read_only_world)
        with pytest.raises(ReadOnlyMailbox):
            mailbox.require_writable()
        (intent,) = intend(mailbox, [ref])
        with pytest.raises(ReadOnlyMailbox):
            mailbox.write([(intent, BytesContent(NEW))])
        with pytest.raises(ReadOnlyMailbox):
            add(mailbox, "Recovered")


class MailboxContract(MessageContract):
    """Of stores with flags: subclass as ``Test…`` and give the fixture ``world``."""

    def test_a_message_flagged_meanwhile_is_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        mailbox.fetch(ref)
        world.set_flags(ref, FLAGGED)
        assert mailbox.fetch(ref).flags == FLAGGED

    @pytest.mark.parametrize(
        ("before", "meanwhile", "after"),
        [
            (SEEN, FLAGGED, FLAGGED),
            (FLAGGED, SEEN, SEEN),
            (Flags(), Flags(frozenset({"answered"})), Flags(frozenset({"answered"}))),
            (SEEN, Flags(), Flags()),
        ],
    )
    def test_flags_of_the_old_copy_that_change_are_carried_over(
        self,
        world: World,
        mailbox: Mailbox,
        before: Flags,
        meanwhile: Flags,
        after: Flags,
    ) -> None:
        refs = [world.deliver("INBOX", OLD, flags=before) for _ in range(2)]
        staged = write(mailbox, refs)
        world.set_flags(refs[0], meanwhile)
        placed = all_placed(mailbox.place(staged))
        world.set_flags(refs[1], meanwhile)
        mailbox.retire(placed)
        assert world.seen() == [Seen("INBOX", NEW, after, DATE)] * 2

    @pytest.mark.parametrize("act", ["write", "place"])
    def test_a_message_marked_deleted_meanwhile_is_not_removed(
        self, world: World, mailbox: Mailbox, ref: MessageRef, act: str
    ) -> None:
        written = write(mailbox, [ref])
        placed = all_placed(mailbox.place(written)) if act == "place" else []
        world.set_flags(ref, DELETED)
        placed = placed or all_placed(mailbox.place(written))
        (answer,) = mailbox.retire(placed)
        assert isinstance(answer, MessageChanged)
        assert bodies(world) == while_placed(mailbox)

    def test_a_message_that_was_marked_deleted_before_stays_marked(
        self, world: World, mailbox: Mailbox
    ) -> None:
        ref = world.deliver("INBOX", OLD, flags=DELETED)
        mailbox.retire(place(mailbox, [ref]))
        assert world.seen() == [Seen("INBOX", NEW, DELETED, DATE)]

    def test_a_new_copy_with_other_flags_is_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        world.set_flags(placed.ref, FLAGGED)
        assert mailbox.find([placed.written.intent])[0].copies


class KeepsBytes(_Stores):
    """Of stores that write where no mail program sees it, and read that back."""

    def test_a_copy_that_reads_back_otherwise_is_not_placed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        staged = write(mailbox, [ref])
        world.spoil_staged()
        (answer,) = mailbox.place(staged)
        assert isinstance(answer, MessageError)
        assert bodies(world) == [OLD]
        assert world.hidden() == 0

    def test_an_addition_that_reads_back_otherwise_is_not_placed(
        self, world: World, mailbox: Mailbox
    ) -> None:
        staged = add(mailbox, "INBOX")
        world.spoil_staged()
        (answer,) = mailbox.place(staged)
        assert isinstance(answer, MessageError)
        assert (world.seen(), world.hidden()) == ([], 0)

    def test_abandoning_keeps_what_others_wrote(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        first, second = write(mailbox, [ref, ref])
        mailbox.abandon([first.intent])
        assert world.hidden() == 1
        mailbox.abandon([second.intent])

    def test_a_new_copy_that_is_not_whole_is_not_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        if placed.ref == ref:
            world.spoil_staged()
        else:
            world.overwrite(placed.ref, NEW[:-2] + b"\n")
        assert mailbox.find([placed.written.intent])[0].copies == ()


class TwoCopies(_Stores):
    """Of stores in which a message has two copies for a moment."""

    def test_a_placed_copy_is_beside_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        place(mailbox, [ref])
        assert bodies(world) == [NEW, OLD]

    def test_flags_of_both_copies_that_change_are_joined(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        placed = place(mailbox, [ref])
        world.set_flags(ref, Flags(frozenset({"seen", "answered"})))
        world.set_flags(placed[0].ref, Flags(frozenset({"flagged"})))
        mailbox.retire(placed)
        assert world.seen()[0].flags == Flags(frozenset({"answered", "flagged"}))

    @pytest.mark.parametrize(
        ("act", "error"),
        [
            (lambda world, ref: world.overwrite(ref, OLD + b"!\n"), ACTED),
            (lambda world, ref: world.remove(ref), MessageVanished),
            (lambda world, ref: world.move(ref, "Trash"), MessageVanished),
        ],
        ids=["overwritten", "removed", "moved"],
    )
    def test_the_new_copy_stays_when_the_old_is_not_what_it_was(
        self,
        world: World,
        mailbox: Mailbox,
        ref: MessageRef,
        act: Callable[[World, MessageRef], None],
        error: type[MessageError] | tuple[type[MessageError], ...],
    ) -> None:
        placed = place(mailbox, [ref])
        act(world, ref)
        before = world.seen()
        (answer,) = mailbox.retire(placed)
        assert isinstance(answer, error)
        assert world.seen() == before
        assert NEW in bodies(world)

    @pytest.mark.parametrize(
        "act",
        [
            lambda world, ref: world.remove(ref),
            lambda world, ref: world.overwrite(ref, b"X: y\n\n"),
        ],
        ids=["removed", "overwritten"],
    )
    def test_the_old_copy_stays_when_the_new_is_not_whole(
        self,
        world: World,
        mailbox: Mailbox,
        ref: MessageRef,
        act: Callable[[World, MessageRef], None],
    ) -> None:
        placed = place(mailbox, [ref])
        act(world, placed[0].ref)
        (answer,) = mailbox.retire(placed)
        assert isinstance(answer, MessageError)
        assert OLD in bodies(world)


class NeverTwoCopies(_Stores):
    """Of stores in which a new copy comes in as the old one goes."""

    def test_a_placed_copy_is_not_seen(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        place(mailbox, [ref])
        assert bodies(world) == [OLD]
        assert [listing.ref for listing in mailbox.walk("INBOX")] == [ref]

    @pytest.mark.parametrize(
        "act",
        [
            lambda world, ref: world.overwrite(ref, OLD + b"!\n"),
            lambda world, ref: world.remove(ref),
            lambda world, ref: world.move(ref, "Trash"),
        ],
        ids=["overwritten", "removed", "moved"],
    )
    def test_the_new_copy_does_not_come_in_when_the_old_is_not_what_it_was(
        self,
        world: World,
        mailbox: Mailbox,
        ref: MessageRef,
        act: Callable[[World, MessageRef], None],
    ) -> None:
        (placed,) = place(mailbox, [ref])
        act(world, ref)
        before = world.seen()
        (answer,) = mailbox.retire([placed])
        assert isinstance(answer, ACTED)
        assert mailbox.find([placed.written.intent])[0].copies == ()
        mailbox.abandon([placed.written.intent])
        assert (world.seen(), world.hidden()) == (before, 0)

    def test_the_old_copy_stays_when_the_new_is_not_whole(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (placed,) = place(mailbox, [ref])
        world.spoil_staged()
        (answer,) = mailbox.retire([placed])
        assert isinstance(answer, MessageError)
        assert bodies(world) == [OLD]
        assert mailbox.find([placed.written.intent])[0].copies == ()
