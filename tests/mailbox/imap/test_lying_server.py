"""A real server that says what is not so, or refuses in the middle of what it took part in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from sectool.errors import MessageError, ReadOnlyMailbox, ServerUnavailable
from sectool.mailbox import Mailbox, Placed, retrying
from sectool.message import BytesContent
from tests.mailbox.imap.test_writing import through
from tests.support.dovecot import Dovecot
from tests.support.imap_world import IMAPWorld
from tests.support.mailbox_contract import (
    DATE,
    FLAGGED,
    NEW,
    OLD,
    SEEN,
    Seen,
    bodies,
    place,
    write,
)
from tests.support.rewriting_proxy import RewritingProxy, rewriting

OTHER = b"Subject: another\n\nof another client\n"
LATER = DATE + timedelta(days=1)
UNKNOWN = {rb'"name" "[^"]*"': rb'"name" "nobody knows"'}
"""Of a server that may forget flags, so that it is looked at."""
REFUSED = rb"UID COPY \1 Nowhere"
"""What is asked instead, so that the answer is NO."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.05,) * 5)


@pytest.fixture
def proxy(dovecot: Dovecot) -> Iterator[RewritingProxy]:
    with rewriting(dovecot.port) as between:
        yield between


@pytest.fixture
def mailbox(proxy: RewritingProxy, world: IMAPWorld) -> Iterator[Mailbox]:
    with through(proxy, world) as mailbox:
        yield mailbox


# --- where a new copy is ----------------------------------------------------------------------


def test_a_number_of_another_message_is_not_taken_for_that_of_the_new_copy(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    proxy.told.update(UNKNOWN)
    written = write(mailbox, [world.deliver("INBOX", OLD, flags=FLAGGED)])
    other = world.deliver("INBOX", OTHER, date=LATER)
    proxy.told[rb"APPENDUID (\d+) \d+"] = rb"APPENDUID \1 " + other.key.partition(":")[2].encode()
    # What it forgets of the flags of the new copy would be set on the other.
    proxy.told[rb"FLAGS \(\\Flagged \\Seen"] = rb"FLAGS (\\Seen"
    with pytest.raises(ServerUnavailable):
        mailbox.place(written)
    (where,) = mailbox.find([written[0].intent])
    assert len(where.copies) == 2
    assert Seen("INBOX", OTHER, SEEN, LATER) in world.seen()


def test_of_many_messages_that_come_at_once_the_same_holds(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    dates = [DATE + timedelta(hours=number) for number in range(4)]
    first = place(mailbox, [world.deliver("INBOX", OLD)])  # so that its flags are known
    written = write(mailbox, [world.deliver("INBOX", OLD, date=date) for date in dates])
    proxy.told[rb"APPENDUID (\d+) (\d+):\d+"] = rb"APPENDUID \1 7,8,10,11"
    assert first[0].ref.key.endswith(":2")
    world.deliver("INBOX", OTHER, date=LATER)
    with pytest.raises(ServerUnavailable):
        mailbox.place(written)
    found = mailbox.find([copy.intent for copy in written])
    assert all(len(where.copies) >= 5 for where in found)


def test_what_a_server_takes_and_does_not_show_is_not_sent_again_and_again(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    (written,) = write(mailbox, [world.deliver("INBOX", OLD)])
    world.deliver("Elsewhere", OTHER)
    proxy.asked.append((rb"APPEND INBOX", b"APPEND Elsewhere"))
    proxy.asked.append((rb'APPEND "INBOX"', b"APPEND Elsewhere"))
    proxy.told[rb"\[APPENDUID[^]]*\] "] = b""
    with pytest.raises(ServerUnavailable):
        mailbox.place([written])
    (where,) = mailbox.find([written.intent])
    assert (where.copies, where.old_present) == ((), True)
    with pytest.raises(ReadOnlyMailbox, match="does not show it"):
        mailbox.write([(written.intent, BytesContent(NEW))])
    assert bodies(world).count(OLD) == 1


# --- what it says of messages -----------------------------------------------------------------


def test_flags_that_are_not_told_are_not_taken_for_cleared(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    placed = place(mailbox, [world.deliver("INBOX", OLD, flags=FLAGGED)])
    proxy.told[rb"FLAGS \([^)]*\) INTERNALDATE"] = b"INTERNALDATE"
    with pytest.raises(ServerUnavailable, match="no flags"):
        mailbox.retire(placed)
    proxy.told.clear()
    assert {seen.flags for seen in world.seen()} == {FLAGGED}
    mailbox.retire(placed)
    assert world.seen() == [Seen("INBOX", NEW, FLAGGED, DATE)]


def test_a_copy_that_was_given_another_date_goes_again(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    placed = place(mailbox, refs)
    uid = placed[0].ref.key.partition(":")[2].encode()
    proxy.told[rb'(UID %s FLAGS \([^)]*\) INTERNALDATE ")04' % uid] = rb"\g<1>05"
    answers = mailbox.retire(placed)
    assert [type(answer) for answer in answers] == [MessageError, Placed]
    assert "date" in str(answers[0])
    assert bodies(world) == [NEW, OLD]


NOISE = (
    rb"* 1 FETCH (UID 4000000 FLAGS (\\Deleted))\r\n* 1 FETCH (FLAGS ())\r\n* 9 EXISTS\r\n"
    rb"* 1 EXPUNGE\r\n* VANISHED 1:4000000\r\n* OK [ALERT] soon\r\n* SEARCH 1 2 3\r\n"
    rb"* OK [APPENDUID 1 1] x\r\n* OK [MODIFIED 1:99] x\r\n* FLAGS (\\Seen)\r\n\g<0>"
)


def test_what_nobody_asked_for_changes_nothing_at_whatever_point_it_comes(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    refs = [world.deliver("INBOX", OLD, flags=flags) for flags in (SEEN, FLAGGED, SEEN)]
    proxy.told[rb"S\d+ (OK|NO|BAD) "] = NOISE
    proxy.told[rb"\+ OK"] = NOISE.replace(rb"* SEARCH 1 2 3\r\n", b"")
    answers = mailbox.retire(place(mailbox, refs))
    assert all(isinstance(answer, Placed) for answer in answers)
    assert sorted((seen.raw, str(seen.flags)) for seen in world.seen()) == sorted(
        (NEW, str(flags)) for flags in (SEEN, FLAGGED, SEEN)
    )


# --- what it refuses --------------------------------------------------------------------------


def test_where_flags_cannot_be_carried_over_the_new_copies_go(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    placed = place(mailbox, refs)
    world.set_flags(refs[0], FLAGGED)
    proxy.asked.append((rb"UID STORE (\d+) [^\r]*", REFUSED))
    with pytest.raises(ReadOnlyMailbox, match="STORE"):
        mailbox.retire(placed)
    assert [(seen.raw, seen.flags) for seen in world.seen()] in (
        [(OLD, FLAGGED), (OLD, SEEN)],
        [(OLD, SEEN), (OLD, FLAGGED)],
    )


def test_where_forgotten_flags_cannot_be_set_the_run_ends_with_a_reason(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    proxy.told.update(UNKNOWN)
    written = write(mailbox, [world.deliver("INBOX", OLD, flags=FLAGGED)])
    proxy.told[rb"FLAGS \(\\Flagged \\Seen"] = rb"FLAGS (\\Seen"
    proxy.asked.append((rb"UID STORE (\d+) [^\r]*", REFUSED))
    with pytest.raises(ReadOnlyMailbox, match="STORE"):
        mailbox.place(written)
    assert bodies(world) == [NEW, OLD]


@pytest.mark.parametrize("command", [b"STORE", b"EXPUNGE"])
def test_an_original_stays_where_its_new_copy_cannot_be_taken_back(
    command: bytes, proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    (placed,) = place(mailbox, [world.deliver("INBOX", OLD)])
    old = placed.written.intent
    swapped = replace(old, replaced=placed.ref, revision=placed.revision)
    taken_back = Placed(replace(placed.written, intent=swapped), old.replaced, old.revision, "")
    proxy.asked.append((rb"UID %s (\d+)[^\r]*" % command, REFUSED))
    with pytest.raises(ReadOnlyMailbox):
        mailbox.retire([taken_back])
    assert bodies(world) == [NEW, OLD]
    assert {seen.flags for seen in world.seen()} == {SEEN}
