"""Options for a mailbox on a server."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sectool.cli.options.paths import path_option
from sectool.cli.options.secrets import secret_command, secret_file
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.jobs import Run
    from sectool.summary import Summary

AnyRun = TypeVar("AnyRun", bound="Run[Summary]")


@dataclass(frozen=True, eq=False, repr=False)
class AccountOptions:
    """How a server is reached, and who is let in; secrets are never arguments."""

    user: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="Whose account on an IMAP server it is."),
    ] = ""
    authuser: Annotated[
        str,
        typer.Option(
            "--authuser", metavar="NAME", help="Log in as this master user, for --user's mail."
        ),
    ] = ""
    password_file: Annotated[
        Path | None,
        secret_file("--password-file", "password of the account", "SECTOOL_IMAP_PASSWORD"),
    ] = None
    password_command: Annotated[str, secret_command("--password-command", "password")] = ""
    token_command: Annotated[
        str,
        typer.Option(
            "--token-command",
            metavar="COMMAND",
            help="The same for an OAuth token; run again for each connection.",
        ),
    ] = ""
    ca_file: Annotated[
        Path | None,
        path_option(
            "--ca-file",
            metavar="PEM",
            help="Authorities whose certificates the server may have. Default: the system's.",
        ),
    ] = None
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Ask a server on this machine for no certificate and no TLS."
        ),
    ] = False
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            metavar="MINUTES",
            min=0,
            max=1440,
            help="Wait that long where a server asks to come back later.",
        ),
    ] = 30
    skip_folder: Annotated[
        list[str],
        typer.Option(
            "--skip-folder",
            metavar="GLOB",
            help="Leave folders of the account whose name matches. Repeat for more.",
        ),
    ] = field(default_factory=list)

    connections: Annotated[
        int,
        typer.Option(
            "--connections",
            metavar="NUMBER",
            min=1,
            max=16,
            help="Connections to the server: all but one fetch while the run is at work.",
        ),
    ] = 2
    drop_keywords: Annotated[
        bool,
        typer.Option(
            "--drop-keywords",
            help="Replace messages also where a folder of the account cannot keep their keywords.",
        ),
    ] = False

    def at_account(self, run: AnyRun) -> AnyRun:
        """The same run with these."""
        from sectool.mailbox import Account

        account = Account(
            self.user,
            self.authuser,
            self.password_file,
            self.password_command,
            self.token_command,
            self.ca_file,
            self.insecure,
            self.patience * 60.0,
            tuple(self.skip_folder),
            self.connections,
            self.drop_keywords,
        )
        return replace(run, account=account)
