"""Messages are replaced while a real Dovecot serves the Maildir."""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sectool.mailbox import Mailbox, MailboxSpecification, PlacedCopy, open_mailbox
from sectool.message import BytesContent, FileContent, MessageRef
from tests.support.mailbox_contract import NEW, OLD, announce, sha256

CONFIGURATION = """
base_dir = {0}/run
state_dir = {0}/state
log_path = {0}/dovecot.log
info_log_path = {0}/info.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{0}/mail/%u/Maildir
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {1}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {0}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {0}/users
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""

OWNER = 65534
DATE = '"04-Mar-2011 05:06:07 +0000"'
CRLF_OLD = OLD.replace(b"\n", b"\r\n")


@dataclass(frozen=True)
class Dovecot:
    """A running server with one user."""

    port: int
    maildir: Path
    log: Path

    def connect(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=20)
        try:
            client.login("alice", "secret")
        except BaseException:
            client.shutdown()
            raise
        return client

    def mailbox(self) -> Mailbox:
        return open_mailbox(MailboxSpecification("maildir", str(self.maildir)))

    def complaints(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if re.search("Error|Warning|Panic|Fatal", line)]


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    program = shutil.which("dovecot")
    if program is None or os.geteuid() != 0:
        if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
            pytest.fail("dovecot is not installed, or this is not root")
        pytest.skip("needs dovecot-imapd and root")
    # A short path that the server's users may pass: its sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="dovecot") as directory:
        home = Path(directory)
        home.chmod(0o755)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        (home / "dovecot.conf").write_text(CONFIGURATION.format(home, port))
        (home / "users").write_text(f"alice:{{PLAIN}}secret:{OWNER}:{OWNER}::{home}/mail/alice::\n")
        (home / "mail" / "alice").mkdir(parents=True)
        for path in (home / "mail", home / "mail" / "alice"):
            os.chown(path, OWNER, OWNER)
        server = subprocess.Popen([program, "-F", "-c", str(home / "dovecot.conf")])
        try:
            running = Dovecot(port, home / "mail" / "alice" / "Maildir", home / "dovecot.log")
            wait_for(running)
            yield running
        finally:
            server.terminate()
            server.wait(20)


def wait_for(server: Dovecot) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError, imaplib.IMAP4.abort):
            server.connect().logout()
            return
        time.sleep(0.1)
    pytest.fail("dovecot did not start")


def append(client: imaplib.IMAP4, flags: str, raw: bytes = CRLF_OLD) -> None:
    kind, answer = client.append("INBOX", flags, DATE, raw)
    assert kind == "OK", answer


def fetch(client: imaplib.IMAP4, items: str) -> list[str]:
    kind, answer = client.uid("FETCH", "1:*", f"({items})")
    assert kind == "OK"
    return [line.decode() for line in answer if isinstance(line, bytes)]


def replace_all(mailbox: Mailbox) -> None:
    refs = [listing.ref for listing in mailbox.walk("INBOX")]
    announced = announce(mailbox, refs)
    contents = [spooled(mailbox, number) for number in range(len(refs))]
    staged = mailbox.stage(list(zip(announced, contents, strict=True)))
    mailbox.barrier(staged)  # type: ignore[arg-type]
    answers = mailbox.retire(staged)  # type: ignore[arg-type]
    assert all(isinstance(answer, PlacedCopy) for answer in answers), answers


def spooled(mailbox: Mailbox, number: int) -> FileContent:
    assert mailbox.capabilities.spool_directory is not None
    path = mailbox.capabilities.spool_directory / f"sectool.test.{number}"
    path.write_bytes(NEW)
    return FileContent(path)


def test_a_client_that_stays_connected_sees_new_messages_with_old_marks(dovecot: Dovecot) -> None:
    with dovecot.connect() as client:
        append(client, r"(\Seen \Flagged $Forwarded Work)")
        append(client, r"(\Answered)")
        client.select("INBOX")
        before = fetch(client, "UID FLAGS INTERNALDATE")
        validity = client.response("UIDVALIDITY")
        replace_all(dovecot.mailbox())
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
            mailbox = dovecot.mailbox()
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
    return [ref for ref in refs if mailbox.fetch(ref).revision == sha256(OLD)][:5]


def replace_some(mailbox: Mailbox, refs: list[MessageRef]) -> int:
    announced = announce(mailbox, refs)
    staged = mailbox.stage([(entry, BytesContent(NEW)) for entry in announced])
    mailbox.barrier(staged)  # type: ignore[arg-type]
    answers = mailbox.retire(staged)  # type: ignore[arg-type]
    assert all(isinstance(answer, PlacedCopy) for answer in answers), answers
    return len(answers)
