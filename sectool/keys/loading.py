"""Loads a key history from files and directories; one bad file never costs the others."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path

from sectool.cms import NO_SECRETS, SharedSecrets
from sectool.errors import PassphraseError, UsageError
from sectool.keys import limits
from sectool.keys.certificates import (
    HeldCertificate,
    agrees,
    public_key_identity,
    rsa_numbers,
)
from sectool.keys.containers import (
    KEY_SUFFIXES,
    exists,
    is_key_file,
    read_contents,
)
from sectool.keys.files import KeyFile, exposed_secrets, key_files_in, open_key_file
from sectool.keys.history import HeldKey, HeldOperations, KeyHistory
from sectool.keys.passphrases import Ask, Passphrases, read_text
from sectool.keys.private_keys import SoftwareKey
from sectool.keys.private_structures import KnownKeys
from sectool.keys.problems import KeyFileError, KeyProblem, ProblemKind, damaged
from sectool.keys.specification import KeySpecification
from sectool.keys.token_access import TokenAccess, close_sessions, open_token, session_limit
from sectool.keys.token_contents import read_token
from sectool.keys.token_uri import parse_token_uri
from sectool.trust import Trust
from sectool.values import dataclass

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def load_key_history(specification: KeySpecification, ask: Ask | None = None) -> KeyHistory:
    """Every private key of the files that are named, with all certificates for it.

    Args:
        specification: names the files, and where passphrases lie.
        ask: asks a person for the passphrase of a named file, three times at
            most for each; None where nobody can be asked.

    Returns:
        A history with at least one key or shared secret. What could not be used stands in its
        ``problems``.

    Raises:
        UsageError: a path does not exist, the passphrase files cannot be
            read, or there is no private key.
        PassphraseError: no key could be loaded, and a passphrase is missing; or the PIN
            of a token is wrong or missing.
        RunError: a token does not work.
    """
    if not specification.names_keys and specification.secrets is None:
        raise UsageError("no key files are named", hint="name them with --keys")
    for path in specification.paths:
        if not exists(path):
            raise UsageError(f"there is no key file or directory {path}", hint="check the path")
    secrets = NO_SECRETS
    if specification.secrets is not None:
        secrets = load_shared_secrets(specification.secrets)
    trust = Trust.in_group(specification.trust_group)
    gathered = _Gathered(Passphrases(specification, ask), trust, specification.checks_mac)
    for path in specification.paths:
        gathered.add(path)
    gathered.refuse_contradictions()
    _add_tokens(gathered, specification, ask)
    gathered.problems.extend(exposed_secrets(specification, trust))
    if specification.names_keys and not gathered.private_keys:
        raise _no_keys(gathered.problems)
    return KeyHistory(
        gathered.held_keys(),
        gathered.problems,
        senders=gathered.senders(),
        others=gathered.others(),
        secrets=secrets,
        tries_unnamed_keys=specification.try_keys,
        tries_tokens=specification.try_tokens,
        maximum_workers=gathered.maximum_workers,
    )


def _add_tokens(gathered: _Gathered, specification: KeySpecification, ask: Ask | None) -> None:
    if not specification.tokens:
        return
    uris = [parse_token_uri(text) for text in specification.tokens]
    try:
        for uri in uris:
            gathered.add_token(open_token(uri, specification, ask))
    finally:
        # A token may have one session only, and the workers are to have it.
        close_sessions()


def _no_keys(found: list[KeyProblem]) -> UsageError | PassphraseError:
    problems = [problem for problem in found if problem.kind is not ProblemKind.EXPOSED]
    for problem in problems:
        if problem.kind in {ProblemKind.PASSPHRASE, ProblemKind.MISLEADING}:
            return PassphraseError(f"{problem.path}: {problem.reason}", hint=problem.hint)
    if problems:
        first = problems[0]
        message = f"there is no usable private key; {first.path}: {first.reason}"
        return UsageError(message, hint=first.hint or "name PKCS#12, PEM or DER files")
    return UsageError(
        "there is no private key in the key files that are named",
        hint="certificates alone open no mail: add the files that hold the keys",
    )


@dataclass(slots=True)
class _Gathered:
    """What was found so far."""

    passphrases: Passphrases
    trust: Trust
    """Who may lead root to a key file."""
    checks_mac: bool = True
    """False to read PKCS#12 files although their MAC says nothing for them."""
    private_keys: dict[bytes, tuple[HeldOperations, Path]] = field(default_factory=dict)
    """By public key identity, with the first file that held it."""
    certificates: dict[bytes, HeldCertificate] = field(default_factory=dict)
    """By DER."""
    problems: list[KeyProblem] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Files that were read, by what is the same for all their names."""
    known: KnownKeys = field(default_factory=dict, repr=False)
    """Private keys that were checked."""
    maximum_workers: int | None = None
    """How many processes may use the keys at once; None: any number."""

    def add(self, path: Path) -> None:
        """Takes a file, or all key files below a directory."""
        try:
            with open_key_file(path, self.trust) as named:
                if named.is_directory:
                    self._add_directory(path, named)
                else:
                    self._add_file(path, named, named=True)
        except KeyFileError as error:
            self.problems.append(error.about(path))

    def _add_directory(self, path: Path, directory: KeyFile) -> None:
        for number, (found, file) in enumerate(key_files_in(directory, path, self.trust)):
            if number >= limits.MAXIMUM_FILES:
                reason = f"only {limits.MAXIMUM_FILES} files of the directory were looked at"
                hint = "name a directory that holds key files only"
                self.problems.append(KeyProblem(path, reason, hint, ProblemKind.LIMIT))
                break
            if isinstance(file, KeyFileError):
                self.problems.append(file.about(found))
            else:
                self._add_file(found, file, named=False)

    def _add_file(self, path: Path, file: KeyFile, *, named: bool) -> None:
        """A file of a directory that shows no sign of being a key file is passed over."""
        if file.identity in self.seen:
            return
        self.seen.add(file.identity)
        expected = named or path.suffix.lower() in KEY_SUFFIXES
        try:
            raw = file.read()
            if expected or is_key_file(raw):
                self._add_contents(path, raw, named=named)
        except KeyFileError as error:
            if expected or error.kind is not ProblemKind.LIMIT:
                self.problems.append(error.about(path))

    def _add_contents(self, path: Path, raw: bytes, *, named: bool) -> None:
        contents = read_contents(
            raw, self.passphrases.of(path), checks_mac=self.checks_mac, known=self.known
        )
        self.problems.extend(error.about(path) for error in contents.problems)
        for key in contents.private_keys:
            self._add_key(SoftwareKey(key, ""), path)
        self._add_certificates(contents.certificates)
        if named and not (contents.private_keys or contents.certificates or contents.problems):
            raise damaged("the file holds no private key and no certificate")

    def add_token(self, access: TokenAccess) -> None:
        """Takes all keys and certificates of a token."""
        contents = read_token(access)
        for key, source in contents.keys:
            self._add_key(key, source)
        self._add_certificates(contents.certificates)
        self.problems.extend(contents.problems)
        limit = session_limit(access)
        if limit is not None:
            self.maximum_workers = min(limit, self.maximum_workers or limit)

    def _add_key(self, key: HeldOperations, source: Path) -> None:
        self.private_keys.setdefault(public_key_identity(key.public_key_info), (key, source))

    def _add_certificates(self, certificates: Iterable[HeldCertificate]) -> None:
        for certificate in certificates:
            self.certificates.setdefault(certificate.der, certificate)

    def refuse_contradictions(self) -> None:
        """Leaves out each RSA key whose certificate tells another exponent."""
        numbers = (rsa_numbers(each.public_key_info) for each in self.certificates.values())
        exponents = {each[0]: each[1] for each in numbers if each is not None}
        for identity, (key, path) in list(self.private_keys.items()):
            own = rsa_numbers(key.public_key_info)
            if own is not None and exponents.get(own[0], own[1]) != own[1]:
                del self.private_keys[identity]
                fault = damaged("an RSA private key has another exponent than its certificate")
                self.problems.append(fault.about(path))

    def held_keys(self) -> Iterator[HeldKey]:
        """Keys with their certificates, matched by public key wherever they lay."""
        issued: defaultdict[bytes, list[HeldCertificate]] = defaultdict(list)
        for certificate in self.certificates.values():
            issued[public_key_identity(certificate.public_key_info)].append(certificate)
        for identity, (key, path) in self.private_keys.items():
            certificates = sorted(issued.get(identity, ()), key=_start)
            label = f"{path.name}: {_subject(key, certificates)}"
            yield HeldKey(key.called(label), tuple(certificates), path)

    def senders(self) -> Iterator[HeldCertificate]:
        """Certificates without a key whose owner may have taken part in a key agreement."""
        return (one for one in self.others() if agrees(one.public_key_info))

    def others(self) -> Iterator[HeldCertificate]:
        """Certificates without a key."""
        for certificate in self.certificates.values():
            if public_key_identity(certificate.public_key_info) not in self.private_keys:
                yield certificate


def _start(certificate: HeldCertificate) -> tuple[datetime, str]:
    validity = certificate.validity
    return (validity[0] if validity else _LONG_AGO, certificate.fingerprint)


def _subject(key: HeldOperations, certificates: list[HeldCertificate]) -> str:
    if certificates:
        return certificates[-1].subject_name
    return f"{key.algorithm} without certificate"


# --- shared keys and passwords --------------------------------------------------------------------
# Of mail that was encrypted with them, from a table that a person wrote. Rows of CSV:
# kind, identifier, secret. ``key`` takes the key identifier of KEKRecipientInfo (RFC 5652
# section 6.2.3) in hexadecimal, ``text:`` before plain text, or nothing for a key that is
# tried on all; its secret is hexadecimal or base64. ``password`` takes no identifier.
# Nothing of it enters an error text.


_KEY_SIZES = frozenset({16, 24, 32})
_HINT = "rows are: key,IDENTIFIER,SECRET in hexadecimal or base64; or password,,SECRET"
_TEXT = "text:"
_SEPARATOR = re.compile(r"^\s*\"?(?:key|password)\"?\s*([,;\t])", re.IGNORECASE | re.MULTILINE)


def load_shared_secrets(path: Path) -> SharedSecrets:
    """All secrets of a table.

    Raises:
        UsageError: it cannot be read, or a row makes no sense; the row is told by
            its number only.
    """
    named: dict[bytes, bytes] = {}
    unnamed: list[bytes] = []
    passwords: list[bytes] = []
    for number, row in enumerate(_rows(path), 1):
        kind = row[0].strip().lower()
        if not any(row) or kind.startswith("#"):
            continue
        identifier, secret = (row[1].strip(), ",".join(row[2:])) if len(row) > 2 else ("", "")
        if kind == "password" and secret and not identifier:
            passwords.append(secret.encode("utf-8", "surrogateescape"))
            continue
        key = _key(secret.strip()) if kind == "key" else None
        name = _identifier(identifier)
        if key is None or name is None:
            raise UsageError(f"row {number} of the table of secrets {path} is none", hint=_HINT)
        if not name:
            unnamed.append(key)
        elif named.setdefault(name, key) != key:
            raise UsageError(
                f"row {number} of the table of secrets {path} names a key for the second time",
                hint="leave the identifier empty to have both tried on everything",
            )
    if not (named or unnamed or passwords):
        raise UsageError(f"the table of secrets {path} is empty", hint=_HINT)
    return SharedSecrets(named, tuple(dict.fromkeys(passwords)), tuple(dict.fromkeys(unnamed)))


def _rows(path: Path) -> Iterator[list[str]]:
    text = read_text(path, "the table of secrets")
    # Spreadsheets write the separator of their country.
    separator = _SEPARATOR.search(text)
    try:
        delimiter = separator[1] if separator else ","
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield row or [""]
    except csv.Error as error:
        raise UsageError(f"the table of secrets {path} is not CSV", hint=_HINT) from error


def _key(text: str) -> bytes | None:
    for decode in (bytes.fromhex, _from_base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) in _KEY_SIZES:
            return key
    return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _identifier(text: str) -> bytes | None:
    if text.startswith(_TEXT):
        return text.removeprefix(_TEXT).encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
