"""Every store keeps the contract of ``tests.support.mailbox_contract``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from sectool.errors import MessageChanged
from sectool.mailbox import Mailbox
from sectool.message import BytesContent
from tests.mailbox.conftest import NestedMaildirWorld, ReadOnly
from tests.support.cyrus import Cyrus, running_cyrus
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.eml_world import EmlWorld
from tests.support.imap_world import IMAPWorld
from tests.support.mailbox_contract import (
    DATE,
    DELETED,
    NEW,
    OLD,
    KeepsBytes,
    MailboxContract,
    MessageContract,
    NeverTwoCopies,
    Seen,
    TwoCopies,
    World,
    intend,
)
from tests.support.mbox_world import MboxWorld
from tests.support.one_file_world import OneFileWorld

ACCOUNTS = ["alice", *(f"user{number}" for number in range(70))]
USERS = itertools.cycle(ACCOUNTS)
"""Each test has an account that no other has."""
USERS_OF_CYRUS = itertools.cycle(ACCOUNTS)


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
    def read_only_world(self, tmp_path: Path, read_only: ReadOnly) -> World:
        world = MboxWorld(tmp_path / "mail")
        world.deliver("INBOX", OLD)
        return MboxWorld(read_only(world.root), new=False)


class TestNestedMaildir(TestMaildir):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return NestedMaildirWorld(tmp_path / "mail")

    @pytest.fixture
    def read_only_world(self, world: World, read_only: ReadOnly) -> World:
        world.deliver("INBOX", OLD)
        return NestedMaildirWorld(read_only(Path(world.specification.location)))


class TestEml(MessageContract, KeepsBytes, NeverTwoCopies):
    keeps_flags = False

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return EmlWorld(tmp_path / "mail")

    @pytest.fixture
    def read_only_world(self, world: World, read_only: ReadOnly) -> World:
        world.deliver("INBOX", OLD)
        return EmlWorld(read_only(Path(world.specification.location)))


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


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot(users=ACCOUNTS) as server:
        yield server


class TestIMAP(MailboxContract, TwoCopies):
    @pytest.fixture
    def world(self, dovecot: Dovecot) -> Iterator[World]:
        account = IMAPWorld(dovecot, next(USERS))
        yield account
        account.close()

    @staticmethod
    def opened_again(world: World) -> Mailbox:
        assert isinstance(world, IMAPWorld)
        return world.opened()

    @staticmethod
    def stored(raw: bytes) -> bytes:
        return raw.replace(b"\n", b"\r\n")

    def test_a_message_that_was_marked_deleted_before_stays_marked(
        self, world: World, mailbox: Mailbox
    ) -> None:
        """It is on its way out: a new copy would be another message that is not."""
        ref = world.deliver("INBOX", OLD, flags=DELETED)
        (intent,) = intend(mailbox, [ref])
        (answer,) = mailbox.write([(intent, BytesContent(NEW))])
        assert isinstance(answer, MessageChanged)
        assert world.seen() == [Seen("INBOX", OLD, DELETED, DATE)]

    @pytest.fixture
    def read_only_world(self) -> Iterator[World]:
        with running_dovecot(settings="imap_capability = IMAP4rev1 LITERAL+\n") as server:
            account = IMAPWorld(server, "alice")
            account.deliver("INBOX", OLD)
            yield account
            account.close()


@pytest.fixture(scope="module")
def cyrus() -> Iterator[Cyrus]:
    with running_cyrus(users=ACCOUNTS) as server:
        yield server


class TestIMAPOfCyrus(TestIMAP):
    @pytest.fixture
    def world(self, cyrus: Cyrus) -> Iterator[World]:
        account = IMAPWorld(cyrus, next(USERS_OF_CYRUS))
        yield account
        account.close()
