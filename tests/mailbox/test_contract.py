"""Every store keeps the contract of ``tests.support.mailbox_contract``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.mailbox_contract import (
    OLD,
    KeepsBytes,
    MailboxContract,
    NeverTwoCopies,
    TwoCopies,
    World,
)
from tests.support.mbox_world import MboxWorld
from tests.support.mounts import Mount
from tests.support.one_file_world import OneFileWorld


class TestMaildir(MailboxContract, KeepsBytes, TwoCopies):
    @pytest.fixture
    def world(self, maildir: World) -> World:
        return maildir

    @pytest.fixture
    def read_only_world(self, read_only_maildir: World) -> World:
        return read_only_maildir


class TestMbox(MailboxContract, KeepsBytes, NeverTwoCopies):
    @pytest.fixture(params=["mutt", "thunderbird"])
    def world(self, tmp_path: Path, request: pytest.FixtureRequest) -> World:
        return MboxWorld(tmp_path / "mail", request.param)

    @pytest.fixture
    def read_only_world(self, tmp_path: Path, mount: Mount) -> World:
        world, view = MboxWorld(tmp_path / "mail"), tmp_path / "view"
        world.deliver("INBOX", OLD)
        view.mkdir()
        mount("--bind", str(world.root), at=view)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
        return MboxWorld(view, new=False)


class _OneFile(MailboxContract):
    kind: ClassVar[str]

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return OneFileWorld(tmp_path / "mailbox", self.kind)

    @pytest.fixture
    def read_only_world(self, world: World, tmp_path: Path) -> World:
        world.deliver("INBOX", OLD)
        (tmp_path / "mailbox").chmod(0o400)
        return world


class TestMaildirLike(_OneFile, KeepsBytes, TwoCopies):
    kind = "maildirlike"


class TestMboxLike(_OneFile, KeepsBytes, NeverTwoCopies):
    kind = "mboxlike"


class TestEmlLike(_OneFile, KeepsBytes, NeverTwoCopies):
    kind = "emllike"


class TestImapLike(_OneFile, TwoCopies):
    kind = "imaplike"
