"""A whole move while a real Dovecot serves the mailbox and a mail program is connected."""

from __future__ import annotations

import imaplib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from tests.support import checker, peers
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.mailboxes import CLEAR, Keys, encrypted
from tests.support.specifications import Specify

MARKS = [
    r"(\Seen \Flagged $Forwarded Work)",
    r"(\Answered)",
    r"(Work Later)",
    r"()",
]
"""Of four encrypted messages, the second in another folder."""


@pytest.fixture(params=["", pytest.param("fs", marks=pytest.mark.all_only)])
def dovecot(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    with running_dovecot(layout=request.param) as server:
        yield server


@pytest.fixture
def client(dovecot: Dovecot, keys: Keys) -> Iterator[imaplib.IMAP4]:
    """A mail program that filed the mail and stays connected."""
    with dovecot.connect() as client:
        client.create("Work")
        for number, marks in enumerate(MARKS):
            folder = "Work" if number == 1 else "INBOX"
            raw = encrypted(number, keys.old).replace(b"\n", b"\r\n")
            date = f'"{number + 1:02d}-Mar-2011 05:06:07 +0000"'
            kind, answer = client.append(folder, marks, date, raw)
            assert kind == "OK", answer
        client.append("INBOX", r"(\Draft)", '"09-Mar-2011 05:06:07 +0000"', CLEAR)
        yield client


def seen(client: imaplib.IMAP4) -> Counter[tuple[str, str, frozenset[str], str]]:
    """Folder, subject, flags with keywords, and date of each message, as a mail program has it."""
    found: Counter[tuple[str, str, frozenset[str], str]] = Counter()
    for folder in ("INBOX", "Work"):
        client.select(folder, readonly=True)
        items = "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
        _, answer = client.uid("FETCH", "1:*", items)
        for part in answer:
            if isinstance(part, tuple):
                head, subject = part[0].decode(), part[1].decode().strip()
                flags = re.search(r"FLAGS \(([^)]*)\)", head)
                date = re.search(r'INTERNALDATE "([^"]*)"', head)
                assert flags is not None
                assert date is not None
                marks = frozenset(flags[1].split()) - {r"\Recent"}
                found[folder, subject, marks, date[1]] += 1
    return found


def bodies(client: imaplib.IMAP4) -> bytes:
    """All that a mail program can fetch."""
    texts = []
    for folder in ("INBOX", "Work"):
        client.select(folder, readonly=True)
        _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        texts += [part[1] for part in answer if isinstance(part, tuple)]
    return b"".join(texts)


def test_checkpoints_and_encryption_keep_what_the_mail_program_shows(
    dovecot: Dovecot, client: imaplib.IMAP4, specify: Specify
) -> None:
    before = seen(client)
    assert sum(before.values()) == 5
    jobs.run(specify("decrypt", dovecot.maildir))
    assert seen(client) == before
    assert jobs.run(specify("encrypt", dovecot.maildir)).counts[State.REENCRYPTED] == 4
    assert seen(client) == before
    assert dovecot.complaints() == []


def test_in_place_and_back_keeps_what_the_mail_program_shows(
    dovecot: Dovecot, client: imaplib.IMAP4, specify: Specify, keys: Keys
) -> None:
    before = seen(client)
    assert b"this is message 2" not in bodies(client)
    summary = jobs.run(specify("decrypt", dovecot.maildir, in_place=True))
    assert summary.counts[State.DECRYPTED] == 4
    assert seen(client) == before
    assert all(b"this is message %d" % number in bodies(client) for number in range(4))
    client.select("INBOX")
    kind, answer = client.uid("SEARCH", "TEXT", '"this is message 2"')
    assert (kind, len(answer[0].split())) == ("OK", 1)
    assert jobs.run(specify("encrypt", dovecot.maildir)).counts[State.REENCRYPTED] == 4
    assert seen(client) == before
    assert b"this is message" not in bodies(client)
    assert opened_by(keys.new, dovecot.maildir) == opened_by(keys.old, dovecot.maildir) + 4
    assert dovecot.complaints() == []


def opened_by(key: checker.Key, maildir: Path) -> int:
    return sum(
        checker.opened(envelope, key) is not None
        for mail in checker.stored_mail(maildir)
        for envelope in checker.envelopes(mail.raw)
    )


def test_a_message_flagged_while_it_lies_there_in_clear_keeps_its_new_flags(
    dovecot: Dovecot, client: imaplib.IMAP4, specify: Specify
) -> None:
    jobs.run(specify("decrypt", dovecot.maildir, in_place=True))
    client.select("INBOX")
    client.uid("STORE", "1:*", "+FLAGS", r"(\Flagged Urgent)")
    flagged = seen(client)
    jobs.run(specify("encrypt", dovecot.maildir))
    assert seen(client) == flagged
    assert dovecot.complaints() == []


def test_a_lost_message_comes_back_in_a_folder_that_the_mail_program_can_open(
    dovecot: Dovecot, client: imaplib.IMAP4, specify: Specify
) -> None:
    jobs.run(specify("decrypt", dovecot.maildir))
    jobs.run(specify("encrypt", dovecot.maildir))
    client.select("Work")
    client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
    client.expunge()
    assert jobs.run(specify("encrypt", dovecot.maildir, restore_lost=True)).brought_back == 1
    assert client.select("Recovered") == ("OK", [b"1"])
    _, answer = client.uid("FETCH", "1:*", "(INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    text = b"".join(b"".join(part) for part in answer if isinstance(part, tuple))
    assert b"02-Mar-2011" in text
    assert b"message 1" in text
    assert client.append("Recovered", "", '"09-Mar-2011 05:06:07 +0000"', CLEAR)[0] == "OK"
    assert dovecot.complaints() == []


@pytest.mark.parametrize("dovecot", ["fs"], indirect=True)
def test_doveadm_finds_every_message_of_nested_folders(
    dovecot: Dovecot, client: imaplib.IMAP4, specify: Specify, keys: Keys
) -> None:
    client.create("Work/Old")
    client.append("Work/Old", "", '"10-Mar-2011 05:06:07 +0000"', encrypted(9, keys.old))

    def doveadm(*words: str) -> bytes:
        command = ("doveadm", "-c", dovecot.configuration)
        return peers.run(*command, *words, directory=dovecot.maildir)

    shown = ("-u", "alice", "mailbox hdr.subject date.received flags", "mailbox", "*", "all")
    before = doveadm("fetch", *shown)
    assert before.count(b"hdr.subject") == 6
    assert (dovecot.maildir / "Work" / "Old" / "cur").is_dir()
    for operation in ("decrypt", "encrypt"):
        assert jobs.run(specify(operation, dovecot.maildir)).messages == 6
    after = doveadm("fetch", *shown)
    assert sorted(after.split(b"\x0c")) == sorted(before.split(b"\x0c"))
    assert opened_by(keys.new, dovecot.maildir) == 5
    assert dovecot.complaints() == []
