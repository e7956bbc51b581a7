"""A real Dovecot that serves one user's Maildir, and its command line on another's mbox."""

from __future__ import annotations

import contextlib
import imaplib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.peers import peer_missing
from tests.support.processes import stop_server, wait_until_none

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
mail_location = maildir:{2}/%u/Maildir{3}
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

MBOX_CONFIGURATION = """
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
"""User and group that the mail belongs to."""


_OF_A_CONNECTION = frozenset({"dovecot", "imap", "imap-login"})
"""Names of processes; a child that still has the master's is about to have another one."""


@dataclass(frozen=True)
class Dovecot:
    """A running server with one user."""

    port: int
    maildir: Path
    log: Path
    configuration: Path
    process: int
    """Number of its master."""

    def wait_until_idle(self) -> None:
        """Waits until nobody is logged in or about to be: whoever was killed is so for a moment.

        Each connection has a process of its own, first one for the login, and what was asked for
        before the connection was lost is done still. Between the two a connection lies in a queue
        and has none; whoever logs in then is served after it.
        """
        self._wait_for_processes()
        self.connect().logout()
        self._wait_for_processes()

    def _wait_for_processes(self) -> None:
        wait_until_none(
            lambda process: process.parent == self.process and process.name in _OF_A_CONNECTION,
            "somebody stays logged in",
        )

    def connect(self, user: str = "alice") -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=20)
        try:
            client.login(user, "secret")
        except BaseException:
            client.shutdown()
            raise
        return client

    def complaints(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if re.search("Error|Warning|Panic|Fatal", line)]


class Doveadm:
    """The command line of Dovecot on one user's mbox files."""

    def __init__(self, home: Path) -> None:
        self._command = [_program("doveadm"), "-c", str(home / "conf")]
        self.home = home
        self.box = home / "mail" / "Inbox"
        self.box.parent.mkdir()
        (home / "conf").write_text(MBOX_CONFIGURATION.format(home, OWNER))
        (home / "log").touch()
        for path in (home, self.box.parent, home / "log"):
            os.chown(path, OWNER, OWNER)

    def begin(self, *words: str, given: bytes = b"") -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HOME": str(self.home), "USER": "nobody"}
        child = subprocess.Popen(
            [*self._command, *words],
            env=environment,
            cwd=self.home,
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

    def shown(self) -> Counter[tuple[str, ...]]:
        """Folder, flags, date and header fields of each message of each folder."""
        names = ["mailbox", "flags", "date.received", "hdr.subject", "hdr.message-id", "hdr.x-odd"]
        text = self.run("-f", "json", "fetch", " ".join(names), "mailbox", "*", "all")
        return Counter(tuple(one[name] for name in names) for one in json.loads(text))

    def texts(self) -> list[bytes]:
        """All messages of all folders, with LF."""
        text = self.run("-f", "json", "fetch", "text", "mailbox", "*", "all")
        return [one["text"].replace("\r\n", "\n").encode() for one in json.loads(text)]


@contextlib.contextmanager
def mbox_of_dovecot() -> Iterator[Doveadm]:
    """An empty directory of mbox files; skips where no Dovecot is installed."""
    with passable_directory() as home:
        yield Doveadm(home)


def _values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{re.escape(name)}: ?(.*)$", text, re.MULTILINE)


def _program(name: str) -> str:
    """Its path; skips or fails where it is not installed, or this is not root."""
    program = shutil.which(name)
    if program is None or os.geteuid() != 0:
        peer_missing(f"{name} of dovecot-imapd is not installed, or this is not root")
    return str(program)


@contextlib.contextmanager
def passable_directory() -> Iterator[Path]:
    """A new directory of a short path that every user may pass, wherever tests are told to work."""
    places = [Path(tempfile.gettempdir()), *map(Path, ("/tmp", "/var/tmp", "/dev/shm"))]
    passable = [
        place
        for place in places
        if all(each.is_dir() and each.stat().st_mode & 0o001 for each in (place, *place.parents))
    ]
    with tempfile.TemporaryDirectory(prefix="dovecot", dir=passable[0]) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextlib.contextmanager
def running_dovecot(
    mail: Path | None = None,
    *,
    layout: str = "",
    users: Sequence[str] = ("alice",),
    settings: str = "",
    keeps_own_apart: bool = True,
) -> Iterator[Dovecot]:
    """A Dovecot on a free port of this machine; skips where none is installed.

    Args:
        mail: a directory for mailboxes that the server's users may pass, where the disk may be
            full: what the server keeps of its own, of which it loses some then, lies elsewhere.
            None: one of its own.
        layout: of its folders, such as ``fs``; empty: Maildir++.
        users: whose password is ``secret``.
        settings: further ones; ``{0}`` in them is the directory of the server.
        keeps_own_apart: what it keeps of its own lies elsewhere; otherwise with the mail.
    """
    program = _program("dovecot")
    with passable_directory() as home:  # its sockets lie in it
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        is_apart = mail is not None and keeps_own_apart
        indexes = "" if not is_apart else f":INDEX={home}/own/%u:CONTROL={home}/own/%u"
        indexes += layout and f":LAYOUT={layout}"
        mail = mail or home / "mail"
        configuration = settings.replace("{0}", str(home))
        configuration += CONFIGURATION.format(home, port, mail, indexes)
        (home / "dovecot.conf").write_text(configuration)
        lines = [f"{user}:{{PLAIN}}secret:{OWNER}:{OWNER}::{mail}/{user}::\n" for user in users]
        (home / "users").write_text("".join(lines))
        (home / "own").mkdir()
        for user in users:
            (mail / user).mkdir(parents=True, exist_ok=True)
        for path in (mail, home / "own", *(mail / user for user in users)):
            os.chown(path, OWNER, OWNER)
        command = [program, "-F", "-c", str(home / "dovecot.conf")]
        server = subprocess.Popen(command, start_new_session=True)
        try:
            running = Dovecot(
                *(port, mail / "alice" / "Maildir", home / "dovecot.log", home / "dovecot.conf"),
                process=server.pid,
            )
            _wait_for(running)
            yield running
        finally:
            stop_server(server)


def _wait_for(server: Dovecot) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError, imaplib.IMAP4.abort):
            server.connect().logout()
            return
        time.sleep(0.1)
    pytest.fail("dovecot did not start")
