"""The mailbox in memory lets a test act between the steps of a replacement."""

from __future__ import annotations

import pytest

from sectool.errors import MessageChanged, MessageVanished, NoSpace, NoSuchMailbox
from sectool.mailbox import MailboxSpecification, Written, open_mailbox
from sectool.message import BytesContent, Flags
from tests.support.mailbox_contract import DELETED, NEW, OLD, intend, place, write
from tests.support.memory_mailbox import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("hooked")


def test_a_hook_acts_right_before_the_old_copy_is_looked_at(store: MemoryStore) -> None:
    ref = store.deliver("INBOX", OLD)
    mailbox = open_mailbox(store.specification)
    placed = place(mailbox, [ref])

    def mark(step: str) -> None:
        if step == "retire.look":
            store.set_flags(ref, DELETED)

    store.hooks.append(mark)
    (answer,) = mailbox.retire(placed)
    assert type(answer) is MessageChanged


def test_a_hook_may_remove_the_message_while_it_is_written(store: MemoryStore) -> None:
    ref = store.deliver("INBOX", OLD)
    mailbox = open_mailbox(store.specification)
    (intent,) = intend(mailbox, [ref])
    store.hooks.append(lambda step: store.remove(ref) if step == "write" else None)
    (answer,) = mailbox.write([(intent, BytesContent(NEW))])
    assert type(answer) is MessageVanished


def test_a_hook_that_fills_the_disk_leaves_nothing_of_the_batch(store: MemoryStore) -> None:
    refs = [store.deliver("INBOX", OLD) for _ in range(3)]
    mailbox = open_mailbox(store.specification)
    steps: list[str] = []

    def fill(step: str) -> None:
        steps.append(step)
        if len(steps) == 3:
            raise NoSpace("the disk is full")

    intended = intend(mailbox, refs)
    store.hooks.append(fill)
    with pytest.raises(NoSpace):
        mailbox.write([(entry, BytesContent(NEW)) for entry in intended])
    assert store.written == {}


def test_the_hooks_hear_every_step_in_order(store: MemoryStore) -> None:
    steps: list[str] = []
    store.hooks.append(steps.append)
    mailbox = open_mailbox(store.specification)
    mailbox.retire(place(mailbox, [store.deliver("INBOX", OLD)]))
    assert steps == ["write", "place", "place.done", "retire.look", "retire.done"]


def test_a_moved_message_has_another_name(store: MemoryStore) -> None:
    ref = store.deliver("INBOX", OLD, flags=Flags(frozenset({"seen"})))
    moved = store.move(ref, "Trash")
    assert moved != ref
    assert open_mailbox(store.specification).fetch(moved).flags.system == {"seen"}


def test_what_is_written_is_seen_by_another_opening(store: MemoryStore) -> None:
    ref = store.deliver("INBOX", OLD)
    staged = write(open_mailbox(store.specification), [ref])
    other = open_mailbox(store.specification)
    other.place([Written(staged[0].intent, staged[0].flags)])
    assert len(list(other.walk("INBOX"))) == 2


def test_a_store_that_nobody_holds_is_gone() -> None:
    specification = MemoryStore("short-lived").specification
    with pytest.raises(NoSuchMailbox):
        open_mailbox(MailboxSpecification(specification.kind, "short-lived"))
