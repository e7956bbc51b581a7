"""Encrypted layers that are not the whole body of a message: what a move makes of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.keys import KeySpecification
from sectool.outcome import State, Summary
from tests.support import checker
from tests.support.layers import FOOTER, LIST_ID, TEXT, encrypt, message, multipart, stored
from tests.support.mailboxes import Keys, Mail, Specify, fill

WRAPPED = smime.PartSelection(wrapped=True)
NAME = "cur/1300000001.M1P1.host:2,S"

Deliver = Callable[..., Path]


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """A Maildir of these messages."""

    def deliver(*messages: bytes) -> Path:
        maildir = tmp_path / "Maildir"
        names = [NAME, *(f"cur/130000000{n}.M{n}P1.host:2,S" for n in range(2, len(messages) + 1))]
        fill(
            maildir,
            [Mail("", name, stored(raw)) for name, raw in zip(names, messages, strict=True)],
        )
        return maildir

    return deliver


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def reason(summary: Summary) -> str:
    (entry,) = summary.not_done
    return entry.reason


def only(maildir: Path) -> bytes:
    (path,) = (maildir / "cur").iterdir()
    return path.read_bytes()


# --- a mailing list's footer ---------------------------------------------------------


@pytest.fixture
def listed(keys: Keys) -> bytes:
    return message(1, multipart(encrypt(TEXT, keys.old), FOOTER), LIST_ID)


@pytest.mark.parametrize("operation", ["scan", "decrypt"])
def test_mail_with_a_list_footer_stays_and_the_reason_names_the_option(
    operation: str, listed: bytes, deliver: Deliver, specify: Specify
) -> None:
    summary = jobs.run(specify(operation, deliver(listed)))
    assert counts(summary) == {State.UNSUPPORTED: 1}
    assert "--wrapped" in reason(summary)


def test_mail_with_a_list_footer_is_moved_when_asked_for_and_the_footer_stays(
    listed: bytes, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(listed)
    assert counts(jobs.run(specify("scan", maildir, part_selection=WRAPPED))) == {State.READABLE: 1}
    # Another choice than before is tried although nothing else changed.
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("decrypt", maildir, part_selection=WRAPPED))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    before = only(maildir)
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}
    after = only(maildir)
    assert after.partition(b"--outer\n")[0] == before.partition(b"--outer\n")[0]
    assert after.rpartition(b"--outer\n")[2] == before.rpartition(b"--outer\n")[2]
    (envelope,) = checker.envelopes(after)
    assert checker.opened(envelope, keys.new) == TEXT
    assert checker.opened(envelope, keys.old) is None
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    summary = jobs.run(specify("verify", maildir, keys=None, verify_keys=new))
    assert counts(summary) == {State.VERIFIED: 1}


@pytest.mark.parametrize(
    ("selection", "end"),
    [
        (smime.PartSelection(), {State.UNSUPPORTED: 1, State.OLD_KEY: 1}),
        (WRAPPED, {State.REENCRYPTED: 2}),
    ],
    ids=["not taken", "taken"],
)
def test_a_copy_of_mail_with_a_list_footer_joins_only_a_job_that_took_it(
    selection: smime.PartSelection,
    end: dict[State, int],
    listed: bytes,
    deliver: Deliver,
    specify: Specify,
) -> None:
    maildir = deliver(listed)
    jobs.run(specify("decrypt", maildir, part_selection=selection))
    shutil.copy(maildir / NAME, maildir / "cur/1400000000.M9P1.host:2,")
    assert counts(jobs.run(specify("encrypt", maildir))) == end
