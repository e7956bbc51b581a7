"""A real Cyrus, which keeps mail in files of its own, with rights for each folder.

Debian's cyrus-imapd is not installed beside dovecot-imapd; all but its ``imapd`` comes with
cyrus-common, and that one is taken from the unpacked package.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.dovecot import passable_directory
from tests.support.peers import peer_missing
from tests.support.processes import stop_server

ADMINISTRATOR = "cyrus"
"""May log in for everybody; the password is ``masters``."""

PROGRAMS = Path("/usr/lib/cyrus/bin")
UNPACKED = Path("/opt/cyrus-imapd")
"""Where ``.ci/run`` unpacks the package."""

SERVER = """
configdirectory: {0}/own
partition-default: {0}/mail
defaultpartition: default
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {0}/passwords
sasl_mech_list: PLAIN LOGIN
unixhierarchysep: yes
altnamespace: yes
virtdomains: off
servername: localhost
autocreate_quota: 0
syslog_prefix: sectool
tls_server_cert: disabled
tls_server_key: disabled
"""

SERVICES = """
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {0}/server.conf -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {0}/server.conf -U 30" listen="127.0.0.1:{1}" prefork=0 maxchild=100
}}
EVENTS {{
}}
"""


@dataclass(frozen=True)
class Cyrus:
    """A running server."""

    port: int

    def connect(self, user: str = "alice") -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=20)
        # It sends a command in pieces, and each would wait for the one before.
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            client.login(user, "secret")
        except BaseException:
            client.shutdown()
            raise
        return client

    def complaints(self) -> list[str]:
        """None: it tells the system's log alone."""
        return []


def _imapd() -> Path:
    places = (PROGRAMS / "imapd", UNPACKED / PROGRAMS.relative_to("/") / "imapd")
    for place in places:
        if place.exists() and shutil.which("saslpasswd2") and os.geteuid() == 0:
            return place
    peer_missing("imapd of cyrus-imapd is not installed, or this is not root")
    raise AssertionError


@contextlib.contextmanager
def running_cyrus(*, users: Sequence[str] = ("alice",), settings: str = "") -> Iterator[Cyrus]:
    """A Cyrus on a free port of this machine; skips where none is installed.

    Args:
        users: whose password is ``secret``.
        settings: further ones of its ``imapd.conf``.
    """
    imapd = _imapd()
    owner = pwd.getpwnam("cyrus")
    with passable_directory() as home:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        names = ("db", "lock", "proc", "socket", "sync", "log", "msg", "quota", "user")
        for place in (*(home / "own" / name for name in names), home / "mail"):
            place.mkdir(parents=True)
        (home / "server.conf").write_text(SERVER.format(home) + settings)
        services = SERVICES.format(home, port, programs=PROGRAMS, imapd=imapd)
        (home / "services.conf").write_text(services)
        for user, password in (*((user, "secret") for user in users), (ADMINISTRATOR, "masters")):
            subprocess.run(
                ["saslpasswd2", "-p", "-c", "-f", home / "passwords", "-u", "localhost", user],
                input=password.encode(),
                check=True,
                timeout=60,
            )
        for path in (home, *home.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        files = {"-C": "server.conf", "-M": "services.conf", "-p": "own/pid"}
        words = [word for name, file in files.items() for word in (name, str(home / file))]
        # It ends by signals to its whole process group, in which another one may run.
        server = subprocess.Popen([PROGRAMS / "master", *words], start_new_session=True)
        try:
            running = Cyrus(port)
            _wait_for(running, users[0])
            yield running
        finally:
            stop_server(server)


def _wait_for(server: Cyrus, user: str) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError, imaplib.IMAP4.abort):
            server.connect(user).logout()
            return
        time.sleep(0.05)
    pytest.fail("cyrus did not start")
