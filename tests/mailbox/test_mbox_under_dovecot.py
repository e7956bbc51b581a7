"""A real Dovecot delivers into an mbox at every moment of a rewrite, and reads it afterwards."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from sectool.crashpoints import install
from sectool.mailbox import MailboxSpecification, open_mailbox
from tests.support.dovecot import OWNER, Doveadm, mbox_of_dovecot
from tests.support.mailbox_contract import OLD, all_placed, place
from tests.support.mbox_files import messages_in, waiting_in

INSIDE = b"""Subject: %d

From me

From bob@example.org Sat Mar  5 05:06:07 2011
Subject: inside

text
"""


@pytest.fixture
def doveadm() -> Iterator[Doveadm]:
    with mbox_of_dovecot() as doveadm:
        yield doveadm
        install(None)


def test_dovecot_delivers_at_every_moment_of_a_rewrite_and_reads_the_same_marks(
    doveadm: Doveadm, whole: bool
) -> None:
    for number in range(4):
        doveadm.run("save", "-m", "INBOX", given=INSIDE % number)
    doveadm.run("save", "-m", "INBOX", given=OLD)
    doveadm.run("flags", "add", "\\Flagged \\Answered work", "mailbox", "INBOX", "1")
    doveadm.run("flags", "add", "\\Seen", "mailbox", "INBOX", "2,5")
    before = doveadm.messages()
    assert before.total() == 5
    mailbox = open_mailbox(MailboxSpecification("mbox", str(doveadm.box)))
    listings = list(mailbox.walk("INBOX"))
    assert [len(one.flags.system) for one in listings] == [2, 1, 0, 0, 1]
    placed = place(mailbox, [listings[-1].ref])
    running: list[subprocess.Popen[bytes]] = []
    passed: list[str] = []

    def deliver(point: str) -> None:
        passed.append(point)
        if whole or len(passed) % 3 == 0:
            raw = b"Subject: late %d\n\nx\n" % len(passed)
            running.append(doveadm.begin("save", "-m", "INBOX", given=raw))

    install(deliver)
    answers = mailbox.retire(placed)
    install(None)
    assert all_placed(answers)
    for child in running:
        assert child.communicate()[1] == b""
    with mailbox:
        mailbox.settle([])
    after = doveadm.messages()
    late = Counter({one: count for one, count in after.items() if one[0].startswith("late")})
    assert sorted(late.values()) == [1] * len(running)
    assert after - late == before
    assert len(messages_in(doveadm.box.read_bytes())) == 5 + len(running) + 4
    assert waiting_in(doveadm.box) == []
    status = doveadm.box.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (OWNER, 0o600)
    assert not (doveadm.box.parent / "Inbox.lock").exists()
