"""An account on a real server, seen from outside by the library's own client."""

from __future__ import annotations

import imaplib
import mailbox as mailboxes
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from sectool.hardening import Secret
from sectool.mailbox import Account, Credentials, Mailbox, MailboxSpecification, open_mailbox
from sectool.message import Flags, MessageRef
from tests.support.cyrus import Cyrus
from tests.support.dovecot import OWNER, Dovecot
from tests.support.mailbox_contract import DATE, SEEN, Seen

MailServer: TypeAlias = Dovecot | Cyrus

ON_LOOPBACK = Account(insecure=True)


def url_of(server: MailServer, user: str = "alice") -> str:
    return f"imap://{user}@127.0.0.1:{server.port}/"


def opened(server: MailServer, user: str = "alice", account: Account = ON_LOOPBACK) -> Mailbox:
    specification = MailboxSpecification("imap", url_of(server, user).removeprefix("imap:"))
    return open_mailbox(specification, Credentials(user, Secret("secret")), account)


class IMAPWorld:
    """What a user does to the mail of an account, with a client of their own."""

    def __init__(self, server: MailServer, user: str) -> None:
        self.server = server
        self.user = user
        self._client = server.connect(user)
        self._opened: list[Mailbox] = []

    @property
    def specification(self) -> MailboxSpecification:
        url = url_of(self.server, self.user)
        return MailboxSpecification("imap", url.removeprefix("imap:"))

    def opened(self) -> Mailbox:
        """As the engine opens it; closed with this."""
        self._opened.append(opened(self.server, self.user))
        return self._opened[-1]

    def close(self) -> None:
        for mailbox in self._opened:
            mailbox.close()
        self._client.logout()

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef:
        self._client.create(folder)
        text = f"({flags})"
        stamp = imaplib.Time2Internaldate(date)
        answer = self._client.append(folder, text, stamp, raw.replace(b"\n", b"\r\n"))
        validity, uid = re.search(rb"APPENDUID (\d+) (\d+)", answer[1][0]).groups()  # type: ignore[union-attr]
        return MessageRef(folder, f"{validity.decode()}:{uid.decode()}")

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        self._select(ref)
        self._client.uid("STORE", self._uid(ref), "FLAGS", f"({flags})")
        self._client.unselect()

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        self.remove(ref)
        self.deliver(ref.folder, raw)

    def remove(self, ref: MessageRef) -> None:
        self._select(ref)
        self._client.uid("STORE", self._uid(ref), "+FLAGS", r"(\Deleted)")
        self._client.expunge()
        self._client.unselect()

    def move(self, ref: MessageRef, folder: str) -> None:
        self._client.create(folder)
        self._select(ref)
        self._client.uid("MOVE", self._uid(ref), folder)
        self._client.unselect()

    def make_anew(self, folder: str) -> None:
        """The same folder with the same mail, and another UIDVALIDITY."""
        self._client.rename(folder, "Before")
        self._client.create(folder)
        self._client.select("Before")
        self._client.uid("COPY", "1:*", folder)
        self._client.unselect()
        self._client.delete("Before")

    def seen(self) -> list[Seen]:
        found = []
        for folder in self._folders():
            if self._client.select(f'"{folder}"', readonly=True)[0] != "OK":
                continue
            items = "(UID FLAGS INTERNALDATE BODY.PEEK[])"
            answer = self._client.uid("FETCH", "1:*", items)[1]
            for told, raw in (one for one in answer if isinstance(one, tuple)):
                words = {word.decode() for word in imaplib.ParseFlags(told)} - {"\\Recent"}
                system = frozenset(word[1:].lower() for word in words if word[0] == "\\")
                keywords = frozenset(word for word in words if word[0] != "\\")
                stamp = re.search(rb'INTERNALDATE "([^"]*)"', told)[1].decode()  # type: ignore[index]
                date = datetime.strptime(stamp.strip(), "%d-%b-%Y %H:%M:%S %z")
                text = raw.replace(b"\r\n", b"\n")
                found.append(Seen(folder, text, Flags(system, keywords), date))
            self._client.unselect()
        return sorted(found, key=lambda seen: (seen.raw, seen.folder))

    def hidden(self) -> int:
        return 0

    def spoil_staged(self) -> None:
        raise AssertionError("nothing waits on a server")

    def _folders(self) -> list[str]:
        lines = self._client.list()[1]
        return [re.search(rb'"/" "?([^"]*)', line)[1].decode() for line in lines]  # type: ignore[arg-type,index]

    def state(self) -> list[bytes]:
        """All that the server tells of all messages, but for their text."""
        told = []
        for line in self._client.list()[1]:
            name = re.search(rb'"/" (.*)', line)[1].decode()  # type: ignore[arg-type,index]
            answer, (count,) = self._client.select(name, readonly=True)
            told += [name.encode(), answer.encode()]
            if answer == "OK" and count != b"0":
                told += self._client.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)")[1]
            if answer == "OK":
                self._client.unselect()
        return told

    def _select(self, ref: MessageRef) -> None:
        self._client.select(f'"{ref.folder}"')

    @staticmethod
    def _uid(ref: MessageRef) -> str:
        return ref.key.rpartition(":")[2]


def maildir_of(server: Dovecot, user: str) -> Path:
    return server.maildir.parents[1] / user / "Maildir"


# --- mail of a Maildir, in an account and back -----------------------------------------------

FLAGS = {"S": r"\Seen", "R": r"\Answered", "F": r"\Flagged", "T": r"\Deleted", "D": r"\Draft"}


def own(directory: Path) -> None:
    """Gives files to the user whose mail Dovecot has in them."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, OWNER, OWNER)


def filled(server: MailServer, user: str, mail: Path) -> None:
    """Gives a user the mail of a Maildir, as far as the server takes it."""
    if isinstance(server, Dovecot):
        maildir = maildir_of(server, user)
        shutil.copytree(mail, maildir)
        own(maildir)
        return
    client = server.connect(user)
    whole = mailboxes.Maildir(mail, create=False)
    for name in ("", *whole.list_folders()):
        folder = _quoted(name.replace(".", "/") or "INBOX")
        client.create(folder)
        place = mail / f".{name}" if name else mail
        for path in sorted([*place.glob("cur/*"), *place.glob("new/*")]):
            flags = " ".join(FLAGS[one] for one in path.name.partition(":2,")[2] if one in FLAGS)
            date = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
            client.append(
                folder, f"({flags})", imaplib.Time2Internaldate(date), _with_crlf(path.read_bytes())
            )
    client.logout()


def as_told(server: MailServer, user: str, target: Path) -> Path:
    """A Maildir of just what the server tells another client of."""
    client = server.connect(user)
    maildir = mailboxes.Maildir(target)
    for line in client.list()[1]:
        if b"\\Noselect" in line:  # type: ignore[operator]
            continue
        name = re.search(rb'"/" "?(.*?)"?\Z', line)[1].decode()  # type: ignore[arg-type,index]
        _, (count,) = client.select(_quoted(name), readonly=True)
        place = target
        if name != "INBOX":
            maildir.add_folder(name.replace("/", "."))
            place = target / f".{name.replace('/', '.')}"
        if count == b"0":
            continue
        _, answer = client.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
        for head, raw in (one for one in answer if isinstance(one, tuple)):
            flags = "".join(sorted(key for key, flag in FLAGS.items() if flag.encode() in head))
            uid = re.search(rb"UID (\d+)", head)[1].decode()  # type: ignore[index]
            told = re.search(rb'INTERNALDATE "([^"]*)"', head)[1].decode()  # type: ignore[index]
            date = datetime.strptime(told.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
            path = place / "cur" / f"{uid}:2,{flags}"
            path.write_bytes(raw)
            os.utime(path, (date, date))
    client.logout()
    return target


def _quoted(name: str) -> str:
    return f'"{name}"'


def _with_crlf(raw: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", raw)
