"""Every store keeps the contract of ``tests.support.mailbox_contract``."""

from __future__ import annotations

import pytest

from tests.support.mailbox_contract import MailboxContract, World


class TestMaildir(MailboxContract):
    @pytest.fixture
    def world(self, maildir: World) -> World:
        return maildir

    @pytest.fixture
    def read_only_world(self, read_only_maildir: World) -> World:
        return read_only_maildir


class TestMemory(MailboxContract):
    @pytest.fixture
    def world(self, memory_world: World) -> World:
        return memory_world

    @pytest.fixture
    def read_only_world(self, read_only_memory_world: World) -> World:
        return read_only_memory_world
