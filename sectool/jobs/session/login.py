"""Whom a server is to let in, and by what: asked of files, commands, the environment, a person."""

from __future__ import annotations

import os

from sectool.errors import LoginRefused, UsageError
from sectool.hardening import Secret
from sectool.keys import Ask, answer_of_command, first_line, read_text
from sectool.mailbox import Account, Credentials, MailboxSpecification, is_account

ENVIRONMENT_VARIABLE = "SECTOOL_IMAP_PASSWORD"


def credentials_for(
    specification: MailboxSpecification, account: Account, ask: Ask | None
) -> Credentials | None:
    """What lets a run into a mailbox; None where nobody is asked, or nothing was given.

    Args:
        specification: of the mailbox.
        account: where the secret comes from.
        ask: for the password that no file, command or variable gives; None: nobody is there.

    Raises:
        UsageError: a file cannot be read, a command is no list of words, or both a password
            and a token are given.
        LoginRefused: a command fails.
    """
    whose = is_account(specification)
    if whose is None:
        if account != Account(patience=account.patience):
            raise UsageError(
                f"{specification.url} is no account on a server",
                hint="leave out the options that only imap:// and imaps:// take",
            )
        return None
    user = whose
    if account.user.partition("*")[0] == whose:
        user = account.user  # it may name the master user as well
    acts_for = ""
    if account.authuser:
        user, acts_for = account.authuser, whose
    if not f"{user}{acts_for}".isprintable():
        raise UsageError("the name to log in with cannot be printed", hint="check --authuser")
    if account.token_command:
        if account.password_file is not None or account.password_command:
            raise UsageError(
                "--token-command and a password exclude each other", hint="leave out one of the two"
            )

        def token() -> Secret:
            return Secret(
                answer_of_command(account.token_command, "token", LoginRefused, again=True)
            )

        return Credentials(user, Secret(""), acts_for, is_token=True, renew=token)
    password = _password(specification, account, ask)
    return None if password is None else Credentials(user, Secret(password), acts_for)


def _password(specification: MailboxSpecification, account: Account, ask: Ask | None) -> str | None:
    if account.password_file is not None:
        return first_line(read_text(account.password_file, "the password file"))
    if account.password_command:
        return answer_of_command(account.password_command, "password", LoginRefused)
    if ENVIRONMENT_VARIABLE in os.environ:
        return os.environ[ENVIRONMENT_VARIABLE]
    return None if ask is None else ask(specification.url) or None
