"""Mailboxes seen from outside: what the user, the server and the delivery agent do to them."""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool.mailbox import MailboxSpecification
from sectool.message import Flags, MessageRef
from tests.support.mailbox_contract import DATE, OLD, SEEN, Seen
from tests.support.mounts import Mount, mount

__all__ = ["mount"]

LETTERS = {
    "draft": "D",
    "flagged": "F",
    "passed": "P",
    "answered": "R",
    "seen": "S",
    "deleted": "T",
}
NAMES = {letter: name for name, letter in LETTERS.items()}


class MaildirWorld:
    """A Maildir handled with nothing but the operating system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)
        if not root.exists():
            self.make_folder(self.root_folder)

    @property
    def root_folder(self) -> Path:
        """Where the inbox lies."""
        return self.root

    @property
    def specification(self) -> MailboxSpecification:
        return MailboxSpecification("maildir", str(self.root))

    @staticmethod
    def make_folder(directory: Path) -> Path:
        for part in ("cur", "new", "tmp"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        return directory

    def directory(self, folder: str) -> Path:
        if folder == "INBOX":
            return self.root
        return self.make_folder(self.root / ("." + folder.replace("/", ".")))

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef:
        base = f"1300000000.M{next(self._numbers)}P1.host"
        self.put(self.directory(folder) / "cur" / f"{base}:2,{self._letters(flags)}", raw, date)
        return MessageRef(folder, base)

    @staticmethod
    def put(path: Path, raw: bytes, date: datetime = DATE) -> Path:
        path.write_bytes(raw)
        os.utime(path, (date.timestamp(), date.timestamp()))
        return path

    def path(self, ref: MessageRef) -> Path:
        directory = self.directory(ref.folder)
        found = [
            path
            for part in ("cur", "new")
            for path in (directory / part).iterdir()
            if path.name.partition(":2,")[0] == ref.key
        ]
        (only,) = found
        return only

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        name = f"{ref.key}:2,{self._letters(flags)}"
        self.path(ref).rename(self.directory(ref.folder) / "cur" / name)

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        self.path(ref).write_bytes(raw)

    def remove(self, ref: MessageRef) -> None:
        self.path(ref).unlink()

    def move(self, ref: MessageRef, folder: str) -> None:
        path = self.path(ref)
        path.rename(self.directory(folder) / "cur" / path.name)

    def directories(self) -> dict[str, Path]:
        """The folders, by name."""
        others = {path.name[1:].replace(".", "/"): path for path in self.root.glob(".?*")}
        return {"INBOX": self.root} | others

    def seen(self) -> list[Seen]:
        found = [
            Seen(folder, path.read_bytes(), self._flags(path.name), self._date(path))
            for folder, directory in self.directories().items()
            for part in ("cur", "new")
            for path in (directory / part).iterdir()
        ]
        return sorted(found, key=lambda seen: (seen.raw, seen.folder))

    def hidden(self) -> int:
        return len(list(self.root.glob("**/tmp/*")))

    def spoil_staged(self) -> None:
        for path in self.root.glob("**/tmp/*"):
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    @staticmethod
    def _letters(flags: Flags) -> str:
        return "".join(sorted(LETTERS[name] for name in flags.system))

    @staticmethod
    def _flags(name: str) -> Flags:
        return Flags(frozenset(NAMES[letter] for letter in name.partition(":2,")[2]))

    @staticmethod
    def _date(path: Path) -> datetime:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


class NestedMaildirWorld(MaildirWorld):
    """A Maildir with a directory for each folder, as mbsync's ``SubFolders Verbatim`` has it."""

    @property
    def root_folder(self) -> Path:
        return self.root / "INBOX"

    def directory(self, folder: str) -> Path:
        return self.make_folder(self.root / folder)

    def directories(self) -> dict[str, Path]:
        return {
            str(path.parent.relative_to(self.root)): path.parent for path in self.root.rglob("cur")
        }


@pytest.fixture
def maildir(tmp_path: Path) -> MaildirWorld:
    return MaildirWorld(tmp_path / "Maildir")


@pytest.fixture
def maildir_at() -> Callable[[Path], MaildirWorld]:
    return MaildirWorld


ReadOnly = Callable[[Path], Path]
"""Answers a read-only view of a directory."""


@pytest.fixture
def read_only(mount: Mount, tmp_path: Path) -> ReadOnly:
    def view_of(directory: Path) -> Path:
        view = tmp_path / "view"
        view.mkdir()
        mount("--bind", str(directory), at=view)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
        return view

    return view_of


@pytest.fixture
def read_only_maildir(maildir: MaildirWorld, read_only: ReadOnly) -> MaildirWorld:
    maildir.deliver("INBOX", OLD)
    return MaildirWorld(read_only(maildir.root))


@pytest.fixture
def modified_utf7() -> Callable[[str], str]:
    """Encodes text that is all outside of ASCII."""

    def encode(text: str) -> str:
        run = base64.b64encode(text.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{run}-"

    return encode
