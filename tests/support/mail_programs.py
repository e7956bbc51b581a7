"""Mail programs that are asked what they see in a mailbox: mutt and Thunderbird."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.checker import Key
from tests.support.mailboxes import openssl
from tests.support.peers import THUNDERBIRD, TIMEOUT, require, run

_STATUS = "[%m messages, %n new, %o old, %d deleted, %F flagged]"
_COUNTS = re.compile(rb"\[(\d+ messages, \d+ new, \d+ old, \d+ deleted, \d+ flagged)\]")
_OF_ONE_COPY = re.compile(rb"^(?:Content-Length|Lines): .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Mutt:
    """``mutt`` in a terminal that nobody sees, with no settings but these."""

    directory: Path

    @classmethod
    def start(cls, directory: Path) -> Mutt:
        require("mutt", "script")
        return cls(directory)

    def copy(self, source: Path, target: Path, kind: str) -> str:
        """Copies all messages of a folder, as its user would, and leaves it.

        Args:
            target: a new folder, or one of this kind.
            kind: ``mbox`` or ``Maildir``.

        Returns:
            How many messages mutt counts in the source, and with which flags.
        """
        keys = f"<tag-pattern>~A<enter><tag-prefix><copy-message>{target}<enter><exit>"
        return self._run("-R", source, keys, f"mbox_type={kind} delete=no")

    def flag_and_delete(self, box: Path, flagged: str, deleted: str) -> str:
        """Flags a message and deletes another, by their subjects, and leaves the folder.

        Returns:
            What mutt counted as it came.
        """
        keys = (
            f"<tag-pattern>~s'{flagged}'<enter><tag-prefix><flag-message>"
            f"<delete-pattern>~s'{deleted}'<enter><sync-mailbox><exit>"
        )
        return self._run("", box, keys, "delete=yes")

    def _run(self, option: str, box: Path, keys: str, settings: str) -> str:
        (self.directory / "muttrc").write_text(
            f"set {settings} confirmcreate=no confirmappend=no move=no quit=yes\n"
            f"set folder={self.directory} header_cache='' record='' mark_old=no\n"
            f"set status_format='{_STATUS}' status_on_top=yes maildir_trash=yes\n"
        )
        command = shlex.join(
            ["mutt", "-n", "-F", "muttrc", *option.split(), "-f", str(box), "-e", f'push "{keys}"']
        )
        screen = run(
            *("script", "-qec", command, "/dev/null"),
            directory=self.directory,
            environment={"TERM": "xterm", "HOME": str(self.directory)},
        )
        counts = _COUNTS.search(screen)
        return counts[1].decode() if counts else f"mutt shows no status: {screen[-200:]!r}"


def uncounted(raw: bytes) -> bytes:
    """A message without the fields in which mutt notes the size of a copy."""
    head, empty, body = raw.partition(b"\n\n")
    return _OF_ONE_COPY.sub(b"", head + b"\n") + empty[1:] + body


PREFERENCES = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "mail.account.account1.server": "server1",
    "mail.accountmanager.accounts": "account1",
    "mail.accountmanager.localfoldersserver": "server1",
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.server.server1.directory-rel": "[ProfD]Mail/Local Folders",
    "mail.server.server1.hostname": "Local Folders",
    "mail.server.server1.name": "Local Folders",
    "mail.server.server1.storeContractID": "@mozilla.org/msgstore/berkeleystore;1",
    "mail.server.server1.type": "none",
    "mail.server.server1.userName": "nobody",
    "mailnews.start_page.enabled": False,
    "marionette.port": 0,
}


@dataclass(frozen=True)
class Thunderbird:
    """Thunderbird without a window, and a profile of its own."""

    profile: Path

    @classmethod
    def start(cls, profile: Path, keys: Sequence[Key]) -> Thunderbird:
        """Makes the profile, with these keys in its database of certificates."""
        require(THUNDERBIRD / "thunderbird", "certutil", "pk12util")
        program = cls(profile)
        program.folders.mkdir(parents=True)
        (profile / "user.js").write_text(
            "".join(
                f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                for name, value in PREFERENCES.items()
            )
        )
        run("certutil", "-N", "-d", "sql:.", "--empty-password", directory=profile)
        for key in keys:
            openssl(
                *("pkcs12", "-export", "-in", key.certificate, "-inkey", key.private_key),
                *("-passout", "pass:x", "-out", profile / "key.p12"),
            )
            words = ("-i", "key.p12", "-d", "sql:.", "-W", "x", "-K", "")
            run("pk12util", *words, directory=profile)
        return program

    @property
    def folders(self) -> Path:
        """Where its local folders lie."""
        return self.profile / "Mail" / "Local Folders"

    def messages(self, *, is_left_open: bool = True) -> list[dict[str, Any]]:
        """What it shows of each message: ``folder``, ``subject``, ``flags``, ``date``, ``text``.

        Args:
            is_left_open: it is killed afterwards; closing takes longer, but writes its indexes.
        """
        child = subprocess.Popen(
            [
                *(THUNDERBIRD / "thunderbird", "--headless", "--no-remote", "--marionette"),
                *("--remote-allow-system-access", "--profile", self.profile),
            ],
            env={**os.environ, "HOME": str(self.profile), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = self._port(child)
            with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as connection:
                asked = _Marionette(connection)
                asked.ask("WebDriver:NewSession", capabilities={})
                asked.ask("Marionette:SetContext", value="chrome")
                script = Path(__file__).with_name("thunderbird.js").read_text()
                answer = asked.ask("WebDriver:ExecuteAsyncScript", script=script, args=[])
                if not is_left_open:
                    asked.ask("Marionette:Quit", flags=["eForceQuit"])
                    child.wait(TIMEOUT)
        finally:
            child.kill()
            child.wait()
        found = answer["value"]
        assert isinstance(found, list), found
        return found

    def _port(self, child: subprocess.Popen[bytes]) -> int:
        told = self.profile / "MarionetteActivePort"
        last = time.monotonic() + TIMEOUT
        while time.monotonic() < last and child.poll() is None:
            if told.exists() and (text := told.read_text()):
                return int(text)
            time.sleep(0.05)
        raise AssertionError("Thunderbird does not listen")


class _Marionette:
    """The protocol by which Mozilla's programs are driven: lengths, and JSON."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._receive()  # its name

    def _receive(self) -> Any:
        length = b""
        while (digit := self._stream.read(1)) not in {b":", b""}:
            length += digit
        return json.loads(self._stream.read(int(length)))

    def ask(self, command: str, **parameters: object) -> Any:
        message = json.dumps([0, 1, command, parameters]).encode()
        self._connection.sendall(b"%d:" % len(message) + message)
        _, _, error, answer = self._receive()
        assert error is None, error
        return answer
