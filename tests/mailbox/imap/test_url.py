"""A URL names one account in one form, and no secret."""

from __future__ import annotations

import pytest

from sectool.errors import NoSuchMailbox, SectoolError, UsageError
from sectool.mailbox import is_account, recognise

SAME = {
    "imaps://alice@Mail.Example.org": ("", "imaps://alice@mail.example.org:993/"),
    "IMAPS://alice@mail.example.org:993/": ("", "imaps://alice@mail.example.org:993/"),
    "imaps://mail.example.org": ("alice", "imaps://alice@mail.example.org:993/"),
    "imaps://alice@mail.example.org": ("alice", "imaps://alice@mail.example.org:993/"),
    "imap://alice@mail.example.org.": ("", "imap://alice@mail.example.org:143/"),
    "imap://alice%40example.org@h:1143": ("", "imap://alice%40example.org@h:1143/"),
    "imap://h/": ("alice@example.org", "imap://alice%40example.org@h:143/"),
    "imap://h": ("alice*master", "imap://alice@h:143/"),
    "imap://alice@[::1]:143": ("", "imap://alice@[::1]:143/"),
    "imap://%2F..%2F@h": ("", "imap://%2F..%2F@h:143/"),
}


@pytest.mark.parametrize(("text", "meant"), SAME.items())
def test_an_account_has_one_name(text: str, meant: tuple[str, str]) -> None:
    user, url = meant
    specification = recognise(text, user)
    assert specification.url == url
    assert recognise(url) == specification
    assert is_account(specification)


REFUSED: dict[str, tuple[type[SectoolError], str]] = {
    "imaps://alice:secret@h": (UsageError, "password"),
    "imaps://:secret@h": (UsageError, "password"),
    "imaps://h": (UsageError, "whose account"),
    "imaps://%00@h": (UsageError, "whose account"),
    "imaps://a%0d%0ab@h": (UsageError, "whose account"),
    "imaps://bob@h": (UsageError, "--user"),
    "imaps:alice@h": (NoSuchMailbox, "no server"),
    "imaps:/path": (NoSuchMailbox, "no server"),
    "imaps://alice@": (NoSuchMailbox, "no server"),
    "imaps://alice@h/INBOX": (NoSuchMailbox, "more than an account"),
    "imaps://alice@h/?x": (NoSuchMailbox, "more than an account"),
    "imaps://alice@h:99999": (NoSuchMailbox, "URL"),
    "imaps://alice@h:x": (NoSuchMailbox, "URL"),
    "imaps://alice@h o": (NoSuchMailbox, "no name"),
    "imaps://alice@-h": (NoSuchMailbox, "no name"),
    "imaps://alice@[::1": (NoSuchMailbox, "URL"),
    "imaps://alice@[x]": (NoSuchMailbox, "URL"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_names_no_account_is_refused_without_a_password(
    text: str, why: tuple[type[SectoolError], str]
) -> None:
    kind, words = why
    with pytest.raises(kind, match=words) as refused:
        recognise(text, "alice" if "bob" in text else "")
    assert refused.value.hint
    assert "secret" not in f"{refused.value.message}{refused.value.hint}"
