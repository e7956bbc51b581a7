"""A tree of .eml files from outside, handled with nothing but the operating system."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

from sectool.mailbox import MailboxSpecification
from sectool.message import Flags, MessageRef
from tests.support.mailbox_contract import DATE, SEEN, Seen


class EmlWorld:
    """A tree of .eml files, made where it is not there.

    Args:
        root: its directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)
        if not root.exists():
            root.mkdir()

    @property
    def specification(self) -> MailboxSpecification:
        return MailboxSpecification("eml", str(self.root))

    def directory(self, folder: str) -> Path:
        directory = self.root if folder == "INBOX" else self.root / folder
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef:
        del flags  # an .eml file has none
        name = f"message {next(self._numbers)}.eml"
        path = self.directory(folder) / name
        path.write_bytes(raw)
        os.utime(path, (date.timestamp(), date.timestamp()))
        return MessageRef(folder, name)

    def path(self, ref: MessageRef) -> Path:
        return self.directory(ref.folder) / ref.key

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        del flags
        assert self.path(ref).is_file()

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        self.path(ref).write_bytes(raw)

    def remove(self, ref: MessageRef) -> None:
        self.path(ref).unlink()

    def move(self, ref: MessageRef, folder: str) -> None:
        self.path(ref).rename(self.directory(folder) / ref.key)

    def seen(self) -> list[Seen]:
        found = [
            Seen(
                self._folder(path.parent),
                path.read_bytes(),
                Flags(),
                datetime.fromtimestamp(path.stat().st_mtime, UTC),
            )
            for path in self.root.rglob("*")
            if path.suffix.lower() == ".eml" and path.is_file() and not path.name.startswith(".")
        ]
        return sorted(found, key=lambda seen: (seen.raw, seen.folder))

    def _folder(self, directory: Path) -> str:
        return "INBOX" if directory == self.root else str(directory.relative_to(self.root))

    def _hidden(self) -> list[Path]:
        return [path for path in self.root.rglob(".*") if path.is_file()]

    def hidden(self) -> int:
        return len(self._hidden())

    def spoil_staged(self) -> None:
        for path in self._hidden():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
