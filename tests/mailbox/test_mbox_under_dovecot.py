"""A real Dovecot delivers into an mbox at every moment of a rewrite, and reads it afterwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.mailbox import MailboxSpecification, open_mailbox
from tests.support.mailbox_contract import OLD, all_placed, place
from tests.support.mbox_files import messages_in, waiting_in

CONFIGURATION = """
base_dir = {0}/run
log_path = {0}/log
mail_location = mbox:{0}/mail:INBOX={0}/mail/Inbox:INDEX=MEMORY
first_valid_uid = 1
mail_uid = {1}
mail_gid = {1}
stats_writer_socket_path =
mail_privileged_group =
namespace inbox {{
  inbox = yes
  separator = /
}}
"""
OWNER = 65534
INSIDE = b"""Subject: %d

From me

From bob@example.org Sat Mar  5 05:06:07 2011
Subject: inside

text
"""


class Doveadm:
    """The command line of Dovecot on one user's mbox files."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("doveadm")
        if program is None or os.geteuid() != 0:
            if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
                pytest.fail("dovecot is not installed, or this is not root")
            pytest.skip("needs dovecot and root")
        self._command = [program, "-c", str(home / "conf")]
        self._home = home
        self.box = home / "mail" / "Inbox"
        self.box.parent.mkdir()
        (home / "conf").write_text(CONFIGURATION.format(home, OWNER))
        (home / "log").touch()
        for path in (home, self.box.parent, home / "log"):
            os.chown(path, OWNER, OWNER)
        self._running: list[subprocess.Popen[bytes]] = []

    def begin(self, *words: str, given: bytes = b"") -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HOME": str(self._home), "USER": "nobody"}
        child = subprocess.Popen(
            [*self._command, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdin is not None
        child.stdin.write(given)
        child.stdin.close()
        child.stdin = None
        return child

    def run(self, *words: str, given: bytes = b"") -> str:
        output, errors = self.begin(*words, given=given).communicate()
        assert errors == b""
        return output.decode()

    def messages(self) -> Counter[tuple[str, str]]:
        """Subjects with their flags."""
        text = self.run("fetch", "flags hdr.subject", "mailbox", "INBOX", "all")
        flags = [
            " ".join(sorted(set(one.split()) - {"\\Recent"})) for one in _values(text, "flags")
        ]
        return Counter(zip(_values(text, "hdr.subject"), flags, strict=True))


def _values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{re.escape(name)}: ?(.*)$", text, re.MULTILINE)


@pytest.fixture
def doveadm() -> Iterator[Doveadm]:
    # Where another user may pass.
    with tempfile.TemporaryDirectory(prefix="dovecot") as directory:
        Path(directory).chmod(0o755)
        yield Doveadm(Path(directory))
        install(None)


@pytest.mark.rights
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
