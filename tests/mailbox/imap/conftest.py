"""A Dovecot for each module, and an account on it for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import IMAPWorld

USERS = [f"user{number}" for number in range(60)]
NEXT = itertools.cycle(USERS)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot(users=["alice", *USERS]) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture
def world(dovecot: Dovecot) -> Iterator[IMAPWorld]:
    account = IMAPWorld(dovecot, next(NEXT))
    yield account
    account.close()
