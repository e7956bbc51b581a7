"""Options that mean the same wherever they stand, alone and in groups."""

from __future__ import annotations

import re
from dataclasses import field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sectool.cli.options.account import AccountOptions, AnyRun
from sectool.cli.options.paths import one_of, path_option
from sectool.cli.options.secrets import secret_command, secret_file
from sectool.errors import UsageError
from sectool.values import dataclass

if TYPE_CHECKING:
    from sectool.cms import Profile
    from sectool.jobs import Decrypt, Encrypt, Rewrap
    from sectool.keys import KeySpecification
    from sectool.smime import PartSelection

Encrypting = TypeVar("Encrypting", "Encrypt", "Rewrap")

Mailbox = Annotated[
    str,
    typer.Argument(
        metavar="MAILBOX",
        help="Path of the mailbox, or KIND:PATH, as maildir:PATH; or imaps://USER@HOST/.",
    ),
]
Keys = Annotated[
    list[Path],
    path_option(
        "--keys",
        metavar="PATH",
        help="PKCS#12, PEM or DER file, a directory of them, or a pkcs11: URI. Repeat for more.",
    ),
]
SealKeys = Annotated[
    list[Path],
    path_option(
        "--seal-keys",
        metavar="PATH",
        help="Private keys of the certificates that checkpoints are sealed to. Repeat for more.",
    ),
]
AcceptCertificate = Annotated[
    list[str],
    typer.Option(
        "--accept-certificate",
        metavar="FINGERPRINT",
        help="Use the certificate of this SHA-256 fingerprint although a check fails;"
        " FINGERPRINT:CHECK: where several do.",
    ),
]
TrustGroup = Annotated[
    str | None,
    typer.Option(
        "--trust-group",
        metavar="NAME",
        help="Trust the members of this group, who may write to the job directory, to the keys"
        " or to what leads there.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Try it and write nothing; say what a run would do and take."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        max=256,
        help="Worker processes; 0: none. Default: one for each processor it may use, 8 at most.",
    ),
]
LimitFactor = Annotated[
    int,
    typer.Option(
        "--limit-factor",
        metavar="N",
        min=1,
        max=1000,
        help="Allow each message and key file N times the usual work before giving it up.",
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Tell what becomes of each message; -vv: also where errors arose.",
    ),
]


def _start_of_day(text: str) -> datetime:
    """A day as a person writes it, in the local time zone."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no day like 2024-12-31") from None


@dataclass(frozen=True, eq=False, repr=False)
class PassphraseOptions:
    """Where passphrases of key files come from; they are never arguments."""

    passphrase_file: Annotated[
        Path | None,
        secret_file("--passphrase-file", "keys' passphrase", "SECTOOL_PASSPHRASE"),
    ] = None
    passphrases: Annotated[
        Path | None,
        path_option(
            "--passphrases",
            metavar="CSV",
            help="File with rows: key file name, passphrase; - is standard input.",
        ),
    ] = None
    passphrase_command: Annotated[str, secret_command("--passphrase-command", "passphrase")] = ""
    no_mac_check: Annotated[
        bool,
        typer.Option(
            "--no-mac-check", help="Read PKCS#12 files although their MAC does not verify."
        ),
    ] = False
    pin_file: Annotated[
        Path | None,
        secret_file("--pin-file", "PIN of a token", "SECTOOL_PIN", or_input=False),
    ] = None
    trust_group: TrustGroup = None

    def of_any(self, paths: list[Path]) -> KeySpecification | None:
        """The key history at ``paths``; None where none are named."""
        return self.of(paths) if paths else None

    def of(self, paths: list[Path]) -> KeySpecification:
        """The key history at ``paths``; none where the files are named elsewhere."""
        from sectool.keys import KeySpecification, is_token_uri

        tokens = tuple(text for text in map(str, paths) if is_token_uri(text))
        files = tuple(path for path in paths if not is_token_uri(str(path)))
        return KeySpecification(
            files,
            self.passphrase_file,
            self.passphrases,
            tokens=tokens,
            pin_file=self.pin_file,
            passphrase_command=self.passphrase_command,
            checks_mac=not self.no_mac_check,
            trust_group=self.trust_group,
        )


@dataclass(frozen=True, eq=False, repr=False)
class OpeningOptions:
    """What mail is opened with beside the keys that its recipients name."""

    secrets: Annotated[
        Path | None,
        path_option(
            "--secrets",
            metavar="CSV",
            help="File with shared keys and passwords: key,IDENTIFIER,SECRET or password,,SECRET.",
        ),
    ] = None
    try_keys: Annotated[
        bool,
        typer.Option("--try-keys", help="Try keys without certificate on all encrypted mail."),
    ] = False
    try_tokens: Annotated[
        bool,
        typer.Option(
            "--try-tokens",
            help="Also try keys on tokens on mail that names certificates not at hand.",
        ),
    ] = False
    accept: Annotated[
        list[str],
        typer.Option(
            "--accept",
            metavar="DIGEST",
            help="Take this part, which the report calls `review`. Repeat for more.",
        ),
    ] = field(default_factory=list)

    def added_to(self, keys: KeySpecification) -> KeySpecification:
        """The same key history with these."""
        return replace(
            keys, secrets=self.secrets, try_keys=self.try_keys, try_tokens=self.try_tokens
        )

    @property
    def released(self) -> frozenset[str]:
        """Content digests."""
        found = frozenset(text.lower() for text in self.accept)
        for text in found:
            if not re.fullmatch("[0-9a-f]{64}", text):
                raise UsageError(f"{text!r} is no content digest", hint="`sectool status` shows it")
        return found


RestoreSubject = Annotated[
    bool,
    typer.Option(
        "--restore-subject",
        help="Copy the encrypted Subject into the visible header (RFC 9788).",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class PartOptions:
    """Which encrypted parts are taken of those that open."""

    break_signatures: Annotated[
        bool,
        typer.Option(
            "--break-signatures",
            help="Also take encrypted parts under a signature. The signature becomes invalid.",
        ),
    ] = False
    leave_attachments: Annotated[
        bool,
        typer.Option(
            "--leave-attachments",
            help="Leave files as they are that somebody encrypted and attached (.p7m).",
        ),
    ] = False

    @property
    def selection(self) -> PartSelection:
        """The same as a value."""
        from sectool.smime import PartSelection

        return PartSelection(self.break_signatures, self.leave_attachments)


Owner = Annotated[
    list[str],
    typer.Option(
        "--owner",
        metavar="ADDRESS",
        help="Whose mailbox it is. Repeat for further addresses of the same person.",
    ),
]
Shared = Annotated[
    bool,
    typer.Option(
        "--shared",
        help="Several people read this mailbox. Each message part stays with those who could read"
        " it before.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class ReaderOptions(PartOptions):
    """Which encrypted parts are taken, and for whom."""

    owner: Owner = field(default_factory=list)
    shared: Shared = False

    def added_to(self, run: Decrypt) -> Decrypt:
        """The same run with these."""
        return replace(
            run,
            part_selection=self.selection,
            owners=tuple(self.owner),
            shared=self.shared,
        )


@dataclass(frozen=True, eq=False, repr=False)
class RunOptions(AccountOptions):
    """How much of which mailbox a run takes, and with how many hands."""

    folder: Annotated[
        str,
        typer.Option(
            "--folder", metavar="GLOB", help="Only folders whose name matches: 'Archive/*'."
        ),
    ] = "*"
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="DATE",
            parser=_start_of_day,
            help="Only mail received on this day or later: 2024-12-31.",
        ),
    ] = None
    before: Annotated[
        datetime | None,
        typer.Option(
            "--before",
            metavar="DATE",
            parser=_start_of_day,
            help="Only mail received before that day.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Work on at most N messages."),
    ] = None
    workers: Workers = None
    limit_factor: LimitFactor = 1

    def added_to(self, run: AnyRun) -> AnyRun:
        """The same run with these."""
        from sectool.jobs import Selection

        return replace(
            self.at_account(run),
            selection=Selection(self.folder, self.since, self.before, self.limit),
            workers=worker_processes(self.workers),
            limit_factor=self.limit_factor,
        )


@dataclass(frozen=True, eq=False, repr=False)
class NewCertificates:
    """Whom to encrypt to, and how sure one must be of it."""

    to: Annotated[
        list[Path],
        path_option(
            "--to", metavar="CERT", help="New certificate: PEM, DER or PKCS#12. Repeat for more."
        ),
    ]
    profile_name: Annotated[
        str,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="compatible (most mail programs), modern (AES-GCM) or post-quantum.",
            autocompletion=one_of("compatible", "modern", "post-quantum"),
        ),
    ] = "compatible"
    also_classic: Annotated[
        bool,
        typer.Option(
            "--also-classic",
            help="With post-quantum: allow other keys as well. The mail is then only as safe as"
            " these.",
        ),
    ] = False
    accept_certificate: AcceptCertificate = field(default_factory=list)
    owner: Owner = field(default_factory=list)

    def added_to(self, run: Encrypting) -> Encrypting:
        """The same run with these."""
        return replace(
            run,
            new_certificates=tuple(self.to),
            profile=profile(self.profile_name, also_classic=self.also_classic),
            accept_fingerprints=accepted_checks(self.accept_certificate),
            owners=tuple(self.owner),
        )


@dataclass(frozen=True, eq=False, repr=False)
class SealingOptions:
    """Whom checkpoints are sealed to, and what opens them again."""

    seal_to: Annotated[
        list[Path],
        path_option(
            "--seal-to",
            metavar="CERT",
            help="Seal checkpoints to this certificate, so that no plaintext lies on the disk."
            " Repeat for more.",
        ),
    ] = field(default_factory=list)
    accept_certificate: AcceptCertificate = field(default_factory=list)
    seal_keys: SealKeys = field(default_factory=list)

    def added_to(self, run: Decrypt, passphrases: PassphraseOptions) -> Decrypt:
        """The same run with these."""
        return replace(
            run,
            seal_to=tuple(self.seal_to),
            accept_fingerprints=accepted_checks(self.accept_certificate),
            seal_keys=passphrases.of_any(self.seal_keys),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Manners:
    """How a person, or a program, wants to be talked to."""

    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on standard output.")
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Show errors only, and the verdict where the exit code is not 0.",
        ),
    ] = False
    verbose: Verbose = 0


@dataclass(frozen=True, eq=False, repr=False)
class RunManners(Manners):
    """The same of a run."""

    json_lines: Annotated[
        Path | None,
        path_option(
            "--json-lines",
            metavar="FILE",
            help="Append to this file what happens, as it happens: a JSON object a line.",
        ),
    ] = None


def worker_processes(workers: int | None) -> int:
    """As many as asked for; None: as this machine is good for."""
    from sectool.jobs import default_workers

    return default_workers() if workers is None else workers


def profile(name: str, *, also_classic: bool) -> Profile:
    """The encryption profile of this name."""
    from sectool.cms import Profile

    named = {profile.value: profile for profile in Profile if profile.is_of_one_kind}
    if name not in named:
        names = ", ".join(named)
        raise UsageError(f"there is no profile {name!r}", hint=f"it is one of: {names}")
    if not also_classic:
        return named[name]
    if named[name] is not Profile.POST_QUANTUM:
        raise UsageError(
            f"--also-classic means nothing with profile {name}",
            hint="it belongs to --profile post-quantum",
        )
    return Profile.ALSO_CLASSIC


def accepted_checks(texts: list[str]) -> frozenset[str]:
    """Which checks of new certificates a person overrides, in the form that is compared."""
    from sectool.keys import read_acceptance

    return frozenset(map(read_acceptance, texts))


def not_certificate(mailbox: str) -> str:
    """Refuses a second certificate that slipped into the place of the mailbox."""
    from sectool.keys import looks_like_key_or_certificate

    if looks_like_key_or_certificate(Path(mailbox)):
        raise UsageError(
            f"{mailbox} is a key or certificate, not a mailbox", hint="repeat --to before each one"
        )
    return mailbox


def stage(name: str) -> str:
    """The stage that a rollback goes back to."""
    if name not in {"original", "decrypted"}:
        raise UsageError(f"there is no stage {name!r}", hint="it is original or decrypted")
    return name
