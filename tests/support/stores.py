"""Stores that only tests know are opened like any other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sectool.mailbox import Mailbox, MailboxSpecification
from sectool.mailbox.recognise import STORES


def registered(
    monkeypatch: pytest.MonkeyPatch, kind: str, store: Callable[[MailboxSpecification], Mailbox]
) -> None:
    """Lets this process, and what is forked from it, open mailboxes of a kind."""
    monkeypatch.setitem(STORES, kind, lambda access: store(access.specification))
