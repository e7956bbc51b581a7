"""Protected headers are kept; --restore-subject shows the Subject outside (RFC 9788)."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.layers import encrypt, message, stored
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Specify

PAYLOAD = (
    b'Content-Type: text/plain; charset=utf-8; hp="cipher"\r\n'
    b"From: alice@example.org\r\nSubject: The plans\r\nHP-Outer: Subject: [...]\r\n"
    b"\r\nThey are in the blue folder.\r\n"
)


@pytest.fixture
def maildir(keys: Keys, tmp_path: Path) -> Path:
    """One message with protected headers."""
    raw = message(1, encrypt(PAYLOAD, keys.old)).replace(b"Subject: message 1", b"Subject: [...]")
    directory = tmp_path / "Maildir"
    fill(directory, [Mail("", "cur/1300000001.M1P1.host:2,S", stored(raw))])
    return directory


def only(maildir: Path) -> bytes:
    (path,) = (maildir / "cur").iterdir()
    return path.read_bytes()


def subject(maildir: Path) -> bytes:
    """Of the outer header."""
    header = only(maildir).partition(b"\n\n")[0]
    (found,) = re.findall(rb"(?m)^Subject: (.*)$", header)
    return bytes(found)


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def steps(job: Path) -> list[str]:
    with closing(sqlite3.connect(job / "job.db")) as connection:
        rows = connection.execute("SELECT name FROM step WHERE name LIKE 'subject%'")
        return [name for (name,) in rows]


def test_protected_headers_are_kept_byte_for_byte_and_stay_inside(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    (envelope,) = checker.envelopes(only(maildir))
    assert checker.opened(envelope, keys.new) == PAYLOAD
    assert subject(maildir) == b"[...]"
    assert steps(tmp_path / "job") == []


def test_encrypt_shows_the_subject_when_asked_to_and_writes_that_down(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    before = only(maildir).partition(b"Content-")[0]
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir, restore_subject=True))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert only(maildir).startswith(before.replace(b"[...]", b"The plans"))
    (envelope,) = checker.envelopes(only(maildir))
    assert checker.opened(envelope, keys.new) == PAYLOAD
    assert steps(tmp_path / "job") == ["subject restored"]
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    verified = jobs.run(specify("verify", maildir, verify_keys=new, deep=True))
    assert counts(verified) == {State.VERIFIED: 1}
    jobs.run(specify("rollback", None))
    assert subject(maildir) == b"[...]"


@pytest.mark.parametrize("again", [False, True], ids=["obscured again", "restored for good"])
def test_in_place_the_subject_stands_with_the_plaintext(
    again: bool, maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    summary = jobs.run(specify("decrypt", maildir, in_place=True, restore_subject=True))
    assert counts(summary) == {State.DECRYPTED: 1}
    assert subject(maildir) == b"The plans"
    assert b"blue folder" in only(maildir)
    encrypted = jobs.run(specify("encrypt", maildir, restore_subject=again))
    assert counts(encrypted) == {State.REENCRYPTED: 1}
    assert subject(maildir) == (b"The plans" if again else b"[...]")
    (envelope,) = checker.envelopes(only(maildir))
    assert checker.opened(envelope, keys.new) == PAYLOAD
    told = ["subject restored"] if again else ["subject restored", "subject obscured"]
    assert steps(tmp_path / "job") == told


def test_in_place_without_the_option_the_subject_stays_inside(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir, in_place=True))
    assert subject(maildir) == b"[...]"


def test_a_checkpoint_alone_restores_no_subject(maildir: Path, specify: Specify) -> None:
    with pytest.raises(UsageError, match="in place"):
        jobs.run(specify("decrypt", maildir, restore_subject=True))
