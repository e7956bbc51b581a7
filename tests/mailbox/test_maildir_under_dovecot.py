"""Messages are replaced while a real Dovecot serves the Maildir."""

from __future__ import annotations

import imaplib
import re
import threading
from collections.abc import Iterator

import pytest

from sectool.mailbox import Mailbox, MailboxSpecification, Placed, open_mailbox
from sectool.message import BytesContent, MessageRef
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.mailbox_contract import NEW, OLD, all_placed, intend

DATE = '"04-Mar-2011 05:06:07 +0000"'
CRLF_OLD = OLD.replace(b"\n", b"\r\n")


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


def mailbox_of(dovecot: Dovecot) -> Mailbox:
    return open_mailbox(MailboxSpecification("maildir", str(dovecot.maildir)))


def append(client: imaplib.IMAP4, flags: str, raw: bytes = CRLF_OLD) -> None:
    kind, answer = client.append("INBOX", flags, DATE, raw)
    assert kind == "OK", answer


def fetch(client: imaplib.IMAP4, items: str) -> list[str]:
    kind, answer = client.uid("FETCH", "1:*", f"({items})")
    assert kind == "OK"
    return [line.decode() for line in answer if isinstance(line, bytes)]


def replace_all(mailbox: Mailbox) -> None:
    refs = [listing.ref for listing in mailbox.walk("INBOX")]
    intended = intend(mailbox, refs)
    staged = mailbox.write([(intent, BytesContent(NEW)) for intent in intended])
    answers = mailbox.retire(all_placed(mailbox.place(staged)))  # type: ignore[arg-type]
    assert all(isinstance(answer, Placed) for answer in answers), answers


def test_a_client_that_stays_connected_sees_new_messages_with_old_marks(dovecot: Dovecot) -> None:
    with dovecot.connect() as client:
        append(client, r"(\Seen \Flagged $Forwarded Work)")
        append(client, r"(\Answered)")
        client.select("INBOX")
        before = fetch(client, "UID FLAGS INTERNALDATE")
        validity = client.response("UIDVALIDITY")
        replace_all(mailbox_of(dovecot))
        client.noop()
        after = fetch(client, "UID FLAGS INTERNALDATE RFC822.SIZE")
        assert marks(after) == marks(before)
        assert [re.search(r"UID (\d+)", line)[1] for line in after] == ["3", "4"]  # type: ignore[index]
        size = len(NEW.replace(b"\n", b"\r\n"))
        assert all(f"RFC822.SIZE {size}" in line for line in after)
        _, answer = client.uid("FETCH", "3:4", "(BODY.PEEK[])")
        bodies = [part[1] for part in answer if isinstance(part, tuple)]
        assert bodies == [NEW.replace(b"\n", b"\r\n")] * 2
        client.select("INBOX")
        assert client.response("UIDVALIDITY")[0] == validity[0]
    assert dovecot.complaints() == []


def marks(lines: list[str]) -> list[tuple[set[str], str]]:
    found = []
    for line in lines:
        flags = re.search(r"FLAGS \(([^)]*)\)", line)
        date = re.search(r'INTERNALDATE "([^"]*)"', line)
        assert flags is not None
        assert date is not None
        found.append((set(flags[1].split()) - {r"\Recent"}, date[1]))
    return found


def test_replacing_while_a_client_flags_and_appends_loses_nothing(dovecot: Dovecot) -> None:
    with dovecot.connect() as client:
        for _ in range(40):
            append(client, r"(\Seen Work)")
        client.select("INBOX")
        stop = threading.Event()
        thread = threading.Thread(target=play, args=(dovecot, stop))
        thread.start()
        try:
            mailbox = mailbox_of(dovecot)
            done = 0
            while refs := old_refs(mailbox):
                done += replace_some(mailbox, refs)
            assert done == 40
        finally:
            stop.set()
            thread.join(30)
        client.select("INBOX")
        _, answer = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
        bodies = [part[1] for part in answer if isinstance(part, tuple)]
        assert bodies.count(NEW.replace(b"\n", b"\r\n")) == 40
        assert CRLF_OLD not in bodies
        heads = [part[0] for part in answer if isinstance(part, tuple) and b"new and" in part[1]]
        assert all(rb"\Seen" in head and b"Work" in head for head in heads)
    assert dovecot.complaints() == []


def play(dovecot: Dovecot, stop: threading.Event) -> None:
    """Another client: flags everything to and fro, and files mail."""
    with dovecot.connect() as client:
        client.select("INBOX")
        for number in range(10_000):
            if stop.is_set():
                break
            client.uid("STORE", "1:*", "+FLAGS" if number % 2 else "-FLAGS", r"(\Flagged)")
            append(client, r"(\Draft)", f"Subject: late {number}\r\n\r\n".encode())


def old_refs(mailbox: Mailbox) -> list[MessageRef]:
    """Up to five messages to replace; Dovecot stores them with LF."""
    refs = (listing.ref for listing in mailbox.walk("INBOX") if listing.size == len(OLD))
    return [ref for ref in refs if mailbox.fetch(ref).content.digest == BytesContent(OLD).digest][
        :5
    ]


def replace_some(mailbox: Mailbox, refs: list[MessageRef]) -> int:
    intended = intend(mailbox, refs)
    staged = mailbox.write([(entry, BytesContent(NEW)) for entry in intended])
    answers = mailbox.retire(all_placed(mailbox.place(staged)))  # type: ignore[arg-type]
    assert all(isinstance(answer, Placed) for answer in answers), answers
    return len(answers)
