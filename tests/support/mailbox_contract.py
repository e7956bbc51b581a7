"""What every store of mail must keep: one class of tests that each store subclasses.

A subclass gives the fixture ``world``: a mailbox seen from outside, through
which a test plays the user, the server and the delivery agent, and which
tells what a mail program would see, by code that shares nothing with the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pytest

from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
)
from sectool.mailbox import (
    Addition,
    Announcement,
    Mailbox,
    MailboxSpecification,
    PlacedCopy,
    Replacement,
    StagedCopy,
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
        """Changes the bytes of every staged copy, as a failing disk would."""


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def announce(
    mailbox: Mailbox, refs: Sequence[MessageRef], raw: bytes = NEW, old: bytes = OLD
) -> list[Announcement]:
    content = BytesContent(raw)
    return mailbox.announce([Replacement(ref, content, sha256(old)) for ref in refs])


def stage(mailbox: Mailbox, refs: Sequence[MessageRef], raw: bytes = NEW) -> list[StagedCopy]:
    announced = announce(mailbox, refs, raw)
    answers = mailbox.stage([(announcement, BytesContent(raw)) for announcement in announced])
    return [answer for answer in answers if isinstance(answer, StagedCopy)]


def place(mailbox: Mailbox, refs: Sequence[MessageRef]) -> list[StagedCopy]:
    staged = stage(mailbox, refs)
    answers = mailbox.barrier(staged)
    assert all(isinstance(answer, PlacedCopy) for answer in answers)
    return staged


def add(mailbox: Mailbox, *folders: str, raw: bytes = NEW) -> list[StagedCopy]:
    """Announces and stages further messages."""
    additions = [Addition(folder, BytesContent(raw), DATE) for folder in folders]
    announced = mailbox.announce_additions(additions)
    answers = mailbox.stage_additions(list(zip(announced, additions, strict=True)))
    return [answer for answer in answers if isinstance(answer, StagedCopy)]


def bodies(world: World) -> list[bytes]:
    return [seen.raw for seen in world.seen()]


class MailboxContract:
    """Subclass as ``Test…`` and give the fixture ``world``."""

    @pytest.fixture
    def mailbox(self, world: World) -> Mailbox:
        return open_mailbox(world.specification)

    @pytest.fixture
    def ref(self, world: World) -> MessageRef:
        return world.deliver("INBOX", OLD)

    # --- reading ---------------------------------------------------------------

    def test_the_inbox_is_the_first_folder(self, world: World, mailbox: Mailbox) -> None:
        world.deliver("Archive/2014", OLD)
        world.deliver("Archive", OLD)
        assert list(mailbox.folders()) == ["INBOX", "Archive", "Archive/2014"]

    def test_an_empty_folder_has_no_message(self, mailbox: Mailbox) -> None:
        assert list(mailbox.walk("INBOX")) == []

    def test_a_walk_tells_every_message_once(self, world: World, mailbox: Mailbox) -> None:
        refs = {world.deliver("INBOX", OLD + bytes([65 + i])) for i in range(20)}
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
        (after,) = open_mailbox(world.specification).walk("INBOX")
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
            assert stream.read() == OLD
        assert stored.flags == FLAGGED
        assert stored.internal_date == DATE
        assert stored.revision == sha256(OLD)

    def test_content_can_be_opened_twice(self, mailbox: Mailbox, ref: MessageRef) -> None:
        content = mailbox.fetch(ref).content
        for _ in range(2):
            with content.open() as stream:
                assert stream.read() == OLD

    def test_a_message_flagged_meanwhile_is_found(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        mailbox.fetch(ref)
        world.set_flags(ref, FLAGGED)
        assert mailbox.fetch(ref).flags == FLAGGED

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

    # --- a whole replacement -----------------------------------------------------

    def test_a_replacement_leaves_one_message_with_the_new_bytes(
        self, world: World, mailbox: Mailbox
    ) -> None:
        ref = world.deliver("Sent", OLD, flags=FLAGGED)
        staged = place(mailbox, [ref])
        (answer,) = mailbox.retire(staged)
        assert isinstance(answer, PlacedCopy)
        assert world.seen() == [Seen("Sent", NEW, FLAGGED, DATE)]
        assert world.hidden() == 0

    def test_the_answer_of_retire_names_what_a_walk_lists(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (answer,) = mailbox.retire(place(mailbox, [ref]))
        (listing,) = open_mailbox(world.specification).walk("INBOX")
        assert isinstance(answer, PlacedCopy)
        assert (answer.ref, answer.hint) == (listing.ref, listing.hint)
        assert answer.revision == mailbox.fetch(listing.ref).revision

    def test_announcing_changes_nothing(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (announcement,) = announce(mailbox, [ref])
        assert announcement.digest == sha256(NEW)
        assert announcement.size == len(NEW)
        assert bodies(world) == [OLD]
        assert world.hidden() == 0

    def test_no_name_is_announced_twice(self, mailbox: Mailbox, ref: MessageRef) -> None:
        announced = announce(mailbox, [ref] * 500) + announce(mailbox, [ref] * 500)
        assert len({announcement.ref for announcement in announced}) == 1000

    def test_a_staged_copy_is_not_seen(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        stage(mailbox, [ref])
        assert bodies(world) == [OLD]
        assert [listing.ref for listing in mailbox.walk("INBOX")] == [ref]

    def test_a_placed_copy_is_beside_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        place(mailbox, [ref])
        assert bodies(world) == [NEW, OLD]

    def test_a_replaced_message_can_be_replaced_again(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (first,) = mailbox.retire(place(mailbox, [ref]))
        assert isinstance(first, PlacedCopy)
        (announcement,) = announce(mailbox, [first.ref], OLD, NEW)
        (staged,) = mailbox.stage([(announcement, BytesContent(OLD))])
        assert isinstance(staged, StagedCopy)
        mailbox.barrier([staged])
        mailbox.retire([staged])
        assert world.seen() == [Seen("INBOX", OLD, SEEN, DATE)]

    # --- batches --------------------------------------------------------------------

    def test_one_bad_entry_costs_that_entry_only(self, world: World, mailbox: Mailbox) -> None:
        refs = [world.deliver("INBOX", OLD) for _ in range(4)]
        world.remove(refs[1])
        world.overwrite(refs[2], OLD + b"more")
        answers = mailbox.stage(
            [(announcement, BytesContent(NEW)) for announcement in announce(mailbox, refs)]
        )
        kinds = [type(answer) for answer in answers]
        assert kinds == [StagedCopy, MessageVanished, MessageChanged, StagedCopy]
        staged = [answer for answer in answers if isinstance(answer, StagedCopy)]
        mailbox.barrier(staged)
        mailbox.retire(staged)
        assert bodies(world) == [NEW, NEW, OLD + b"more"]

    def test_retire_answers_in_the_order_of_the_batch(self, world: World, mailbox: Mailbox) -> None:
        refs = [world.deliver("INBOX", OLD) for _ in range(3)]
        staged = place(mailbox, refs)
        world.remove(refs[1])
        answers = mailbox.retire(staged)
        assert [type(answer) for answer in answers] == [PlacedCopy, MessageVanished, PlacedCopy]
        assert bodies(world) == [NEW, NEW, NEW]

    def test_empty_batches_are_answered_by_nothing(self, mailbox: Mailbox) -> None:
        assert mailbox.announce([]) == []
        assert mailbox.stage([]) == []
        assert mailbox.barrier([]) == []
        assert mailbox.retire([]) == []
        mailbox.discard([])

    def test_two_messages_of_the_same_bytes_are_two_replacements(
        self, world: World, mailbox: Mailbox
    ) -> None:
        refs = [world.deliver("INBOX", OLD), world.deliver("Sent", OLD)]
        mailbox.retire(place(mailbox, refs))
        assert sorted((seen.folder, seen.raw) for seen in world.seen()) == [
            ("INBOX", NEW),
            ("Sent", NEW),
        ]

    def test_a_copy_that_reads_back_otherwise_is_not_placed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        staged = stage(mailbox, [ref])
        world.spoil_staged()
        (answer,) = mailbox.barrier(staged)
        assert isinstance(answer, MessageError)
        assert bodies(world) == [OLD]
        assert world.hidden() == 0

    # --- what others do meanwhile ------------------------------------------------------

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
        staged = stage(mailbox, refs)
        world.set_flags(refs[0], meanwhile)
        mailbox.barrier(staged)
        world.set_flags(refs[1], meanwhile)
        mailbox.retire(staged)
        assert world.seen() == [Seen("INBOX", NEW, after, DATE)] * 2

    def test_flags_of_both_copies_that_change_are_joined(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        staged = place(mailbox, [ref])
        world.set_flags(ref, Flags(frozenset({"seen", "answered"})))
        world.set_flags(staged[0].announcement.ref, Flags(frozenset({"flagged"})))
        mailbox.retire(staged)
        assert world.seen()[0].flags == Flags(frozenset({"answered", "flagged"}))

    @pytest.mark.parametrize("act", ["stage", "barrier"])
    def test_a_message_marked_deleted_meanwhile_is_not_removed(
        self, world: World, mailbox: Mailbox, ref: MessageRef, act: str
    ) -> None:
        staged = stage(mailbox, [ref]) if act == "stage" else place(mailbox, [ref])
        world.set_flags(ref, DELETED)
        mailbox.barrier(staged)
        (answer,) = mailbox.retire(staged)
        assert isinstance(answer, MessageChanged)
        assert bodies(world) == [NEW, OLD]

    def test_a_message_that_was_marked_deleted_before_stays_marked(
        self, world: World, mailbox: Mailbox
    ) -> None:
        ref = world.deliver("INBOX", OLD, flags=DELETED)
        mailbox.retire(place(mailbox, [ref]))
        assert world.seen() == [Seen("INBOX", NEW, DELETED, DATE)]

    @pytest.mark.parametrize(
        ("act", "error"),
        [
            (lambda world, ref: world.overwrite(ref, OLD + b"!"), MessageChanged),
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
        error: type[MessageError],
    ) -> None:
        staged = place(mailbox, [ref])
        act(world, ref)
        before = world.seen()
        (answer,) = mailbox.retire(staged)
        assert type(answer) is error
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
        staged = place(mailbox, [ref])
        act(world, staged[0].announcement.ref)
        (answer,) = mailbox.retire(staged)
        assert isinstance(answer, MessageError)
        assert OLD in bodies(world)

    def test_nothing_is_staged_for_a_message_that_changed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        announced = announce(mailbox, [ref])
        world.overwrite(ref, OLD + b"!")
        (answer,) = mailbox.stage([(announced[0], BytesContent(NEW))])
        assert type(answer) is MessageChanged
        assert world.hidden() == 0

    # --- after a crash --------------------------------------------------------------------

    def test_after_announcing_nothing_is_located_but_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (announcement,) = announce(mailbox, [ref])
        where = open_mailbox(world.specification).locate(announcement)
        assert (where.placed, where.old_present) == (None, True)

    def test_after_staging_nothing_is_located_but_the_old(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = stage(mailbox, [ref])
        where = open_mailbox(world.specification).locate(staged.announcement)
        assert (where.placed, where.old_present) == (None, True)

    def test_after_the_barrier_both_are_located(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        where = open_mailbox(world.specification).locate(staged.announcement)
        assert where.placed is not None
        assert where.placed.ref == staged.announcement.ref
        assert where.old_present

    def test_after_retiring_only_the_new_is_located(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        (answer,) = mailbox.retire([staged])
        where = open_mailbox(world.specification).locate(staged.announcement)
        assert (where.placed, where.old_present) == (answer, False)

    def test_a_new_copy_with_other_flags_is_located(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        world.set_flags(staged.announcement.ref, FLAGGED)
        assert mailbox.locate(staged.announcement).placed is not None

    def test_a_new_copy_that_is_not_whole_is_not_located(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        world.overwrite(staged.announcement.ref, NEW[:-1])
        assert mailbox.locate(staged.announcement).placed is None

    def test_an_old_copy_that_changed_is_not_located(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        world.overwrite(ref, OLD + b"!")
        assert not mailbox.locate(staged.announcement).old_present

    def test_a_replacement_goes_on_in_another_process(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        world.set_flags(ref, FLAGGED)
        resumed = [StagedCopy(staged.announcement, Flags())]
        other = open_mailbox(world.specification)
        (again,) = other.barrier(resumed)
        assert isinstance(again, PlacedCopy)
        other.retire(resumed)
        assert world.seen() == [Seen("INBOX", NEW, FLAGGED, DATE)]

    def test_staging_the_same_announcement_again_is_possible(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (first,) = stage(mailbox, [ref])
        other = open_mailbox(world.specification)
        (again,) = other.stage([(first.announcement, BytesContent(NEW))])
        assert again == first
        other.barrier([first])
        other.retire([first])
        assert bodies(world) == [NEW]

    def test_retiring_twice_removes_once(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        staged = place(mailbox, [ref])
        mailbox.retire(staged)
        (answer,) = open_mailbox(world.specification).retire(staged)
        assert type(answer) is MessageVanished
        assert bodies(world) == [NEW]

    def test_a_barrier_without_a_staged_copy_has_vanished(
        self, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (announcement,) = announce(mailbox, [ref])
        (answer,) = mailbox.barrier([StagedCopy(announcement, SEEN)])
        assert type(answer) is MessageVanished

    def test_discarding_removes_what_was_staged(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = stage(mailbox, [ref])
        open_mailbox(world.specification).discard([staged.announcement])
        assert world.hidden() == 0
        assert bodies(world) == [OLD]

    def test_discarding_keeps_what_was_placed(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = place(mailbox, [ref])
        mailbox.discard([staged.announcement])
        assert bodies(world) == [NEW, OLD]

    def test_discarding_keeps_what_others_staged(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        first, second = stage(mailbox, [ref, ref])
        mailbox.discard([first.announcement])
        assert world.hidden() == 1
        mailbox.discard([second.announcement])

    # --- further messages -----------------------------------------------------------------

    @pytest.mark.parametrize("folder", ["INBOX", "Recovered"])
    def test_an_addition_comes_into_its_folder_with_its_date_and_no_flag(
        self, world: World, mailbox: Mailbox, folder: str
    ) -> None:
        (answer,) = mailbox.barrier(add(mailbox, folder))
        assert isinstance(answer, PlacedCopy)
        assert world.seen() == [Seen(folder, NEW, Flags(), DATE)]
        assert [listing.ref for listing in mailbox.walk(folder)] == [answer.ref]
        assert folder in open_mailbox(world.specification).folders()

    def test_announcing_additions_changes_nothing(self, world: World, mailbox: Mailbox) -> None:
        mailbox.announce_additions([Addition("Recovered", BytesContent(NEW), DATE)])
        assert "Recovered" not in mailbox.folders()
        assert (world.seen(), world.hidden()) == ([], 0)

    def test_an_addition_is_not_seen_before_the_barrier(
        self, world: World, mailbox: Mailbox, ref: MessageRef
    ) -> None:
        (staged,) = add(mailbox, "Recovered")
        assert bodies(world) == [OLD]
        where = mailbox.locate(staged.announcement)
        assert (where.placed, where.old_present) == (None, False)
        mailbox.discard([staged.announcement])
        assert world.hidden() == 0

    def test_an_addition_is_located_where_it_was_placed(
        self, world: World, mailbox: Mailbox
    ) -> None:
        staged = add(mailbox, "Recovered", "Recovered")
        mailbox.barrier(staged)
        other = open_mailbox(world.specification)
        for copy in staged:
            where = other.locate(copy.announcement)
            assert where.placed is not None
            assert not where.old_present
        assert all(isinstance(answer, PlacedCopy) for answer in other.barrier(staged))
        assert bodies(world) == [NEW, NEW]

    def test_an_addition_that_reads_back_otherwise_is_not_placed(
        self, world: World, mailbox: Mailbox
    ) -> None:
        staged = add(mailbox, "INBOX")
        world.spoil_staged()
        (answer,) = mailbox.barrier(staged)
        assert isinstance(answer, MessageError)
        assert (world.seen(), world.hidden()) == ([], 0)

    # --- manners -----------------------------------------------------------------------------

    def test_a_mailbox_that_cannot_be_written_refuses_to_stage(
        self, read_only_world: World
    ) -> None:
        (ref,) = [
            listing.ref for listing in open_mailbox(read_only_world.specification).walk("INBOX")
        ]
        mailbox = open_mailbox(read_only_world.specification)
        assert not mailbox.capabilities.writable
        (announcement,) = announce(mailbox, [ref])
        with pytest.raises(ReadOnlyMailbox):
            mailbox.stage([(announcement, BytesContent(NEW))])
        with pytest.raises(ReadOnlyMailbox):
            add(mailbox, "Recovered")
