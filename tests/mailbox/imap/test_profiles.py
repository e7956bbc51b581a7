"""What is known of servers, and a Dovecot that answers as another kind of server would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool.errors import MessageError, NoSpace, ServerUnavailable
from sectool.mailbox import Mailbox, retrying
from sectool.mailbox.imap.account import IMAPMailbox
from sectool.mailbox.imap.profiles import PROFILES
from tests.mailbox.imap.test_writing import through
from tests.support.dovecot import Dovecot
from tests.support.imap_server import CAPABILITIES, Server
from tests.support.imap_world import IMAPWorld
from tests.support.mailbox_contract import DATE, FLAGGED, NEW, OLD, SEEN, Seen, place, write
from tests.support.rewriting_proxy import RewritingProxy, rewriting

PAGE = Path(__file__).parents[3] / "docs" / "imap.md"
EXCHANGE = b'"name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20"'


@pytest.mark.parametrize(
    ("identity", "capabilities", "name"),
    [
        ('("name" "Dovecot")', "ID", "dovecot"),
        ('("name" "Cyrus IMAPD" "version" "3.6.1")', "ID", "cyrus"),
        (f"({EXCHANGE.decode()})", "ID", "exchange"),
        ('("vendor" "x" "NAME" "dovecot")', "ID", "dovecot"),
        ('("name" "Dovecot")', "ID X-GM-EXT-1", "gmail"),
        ('("name" "Dovecot")', "", "generic"),
        ('("name" NIL)', "ID", "generic"),
        ('("name" "Courier" "x")', "ID", "generic"),
        ("NIL", "ID", "generic"),
        ("((()))", "ID", "generic"),
    ],
)
def test_a_server_is_known_by_its_capability_or_the_name_it_gives_itself(
    identity: str, capabilities: str, name: str
) -> None:
    answers = {"ID": f"* ID {identity}\r\n"}
    server = Server(capabilities=f"{CAPABILITIES} {capabilities}".strip(), answers=dict(answers))
    with server.running(), server.opened() as mailbox:
        store = mailbox._store  # type: ignore[attr-defined]  # of the wrapper
        assert isinstance(store, IMAPMailbox)
        assert store._known.name == name


def test_the_page_says_of_each_kind_what_it_is_proven_on() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(profile.name, profile.proven_on) for profile in PROFILES]


# --- Exchange, as far as a server of the tests can be it ----------------------------------------


@pytest.fixture
def proxy(dovecot: Dovecot) -> Iterator[RewritingProxy]:
    with rewriting(dovecot.port) as between:
        between.told[rb'"name" "Dovecot"'] = EXCHANGE
        yield between


@pytest.fixture
def mailbox(proxy: RewritingProxy, world: IMAPWorld) -> Iterator[Mailbox]:
    with through(proxy, world) as mailbox:
        yield mailbox


def test_what_is_hidden_there_is_passed_over(mailbox: Mailbox) -> None:
    list(mailbox.folders())
    (hidden,) = mailbox.passed_over
    assert hidden == "archive, recoverable items and holds are not visible to IMAP"


@pytest.mark.parametrize("command", [b"STORE", b"EXPUNGE"])
def test_a_refused_removal_takes_the_new_copies_back_and_says_what_may_be_full(
    command: bytes, proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    placed = place(mailbox, [world.deliver("INBOX", OLD) for _ in range(2)])
    refused = rb"UID COPY \1 Nowhere"
    proxy.asked.append((rb"UID %s ([0-9:,]+)[^\r]*" % command, refused))
    with pytest.raises(NoSpace) as full:
        mailbox.retire(placed)
    assert full.value.exit_code == 17
    assert "Recoverable Items" in full.value.hint
    assert world.seen() == [Seen("INBOX", OLD, SEEN, DATE)] * 2


def test_a_text_in_place_of_what_it_cannot_convert_is_no_message(
    world: IMAPWorld, mailbox: Mailbox
) -> None:
    text = b"Retrieval using the IMAP4 protocol failed for the following message"
    ref = world.deliver("INBOX", b"From: x\nSubject: %s: 7\n\nThe server could not\n" % text)
    other = world.deliver("INBOX", b"From: x\nSubject: Re: %s: 7\n\nwhat is this?\n" % text)
    with pytest.raises(MessageError, match="a text of its own"):
        mailbox.fetch(ref)
    assert mailbox.fetch(other).content.size > 0


def test_a_flag_that_it_forgot_before_a_run_was_killed_is_set_by_the_next(
    proxy: RewritingProxy, world: IMAPWorld, mailbox: Mailbox
) -> None:
    written = write(mailbox, [world.deliver("INBOX", OLD, flags=FLAGGED)])
    proxy.asked.append((rb"\(\\flagged \\seen\) \"", rb'(\\Seen) "'))
    proxy.loses.append(rb"new and longer body")
    with pytest.raises(ServerUnavailable):
        mailbox.place(written)
    (where,) = mailbox.find([written[0].intent])
    assert [seen.flags for seen in world.seen()] == [SEEN, FLAGGED]
    mailbox.retire(list(where.copies))
    assert world.seen() == [Seen("INBOX", NEW, FLAGGED, DATE)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.05,) * 5)
