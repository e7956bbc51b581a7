"""A real Dovecot that serves one user's Maildir."""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

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

OWNER = 65534
"""User and group that the mail belongs to."""


@dataclass(frozen=True)
class Dovecot:
    """A running server with one user."""

    port: int
    maildir: Path
    log: Path
    configuration: Path

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


@contextlib.contextmanager
def running_dovecot(
    mail: Path | None = None,
    *,
    layout: str = "",
    users: Sequence[str] = ("alice",),
    settings: str = "",
) -> Iterator[Dovecot]:
    """A Dovecot on a free port of this machine; skips where none is installed.

    Args:
        mail: a directory for mailboxes that the server's users may pass, where the disk may be
            full: what the server keeps of its own, of which it loses some then, lies elsewhere.
            None: one of its own.
        layout: of its folders, such as ``fs``; empty: Maildir++.
        users: whose password is ``secret``.
        settings: further ones; ``{0}`` in them is the directory of the server.
    """
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
        indexes = "" if mail is None else f":INDEX={home}/own/%u:CONTROL={home}/own/%u"
        indexes += layout and f":LAYOUT={layout}"
        mail = mail or home / "mail"
        configuration = settings.replace("{0}", str(home))
        configuration += CONFIGURATION.format(home, port, mail, indexes)
        (home / "dovecot.conf").write_text(configuration)
        lines = [f"{user}:{{PLAIN}}secret:{OWNER}:{OWNER}::{mail}/{user}::\n" for user in users]
        (home / "users").write_text("".join(lines))
        (home / "own").mkdir()
        for user in users:
            (mail / user).mkdir(parents=True)
        for path in (mail, home / "own", *(mail / user for user in users)):
            os.chown(path, OWNER, OWNER)
        server = subprocess.Popen([program, "-F", "-c", str(home / "dovecot.conf")])
        try:
            running = Dovecot(
                port, mail / "alice" / "Maildir", home / "dovecot.log", home / "dovecot.conf"
            )
            _wait_for(running)
            yield running
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(server: Dovecot) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError, imaplib.IMAP4.abort):
            server.connect().logout()
            return
        time.sleep(0.1)
    pytest.fail("dovecot did not start")
