"""A key history: all private keys of one user, found by what a RecipientInfo says of them.

Lookup is a hash, whatever the number of keys (RFC 5652 section 6.2.1). Trying
keys that nothing names is left to whoever asks for it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509

from sectool.cms import NO_SECRETS, SharedSecrets
from sectool.cms.identifiers import recipient_of
from sectool.cms.seams import (
    IssuerAndSerialNumber,
    KeyOperations,
    RecipientIdentifier,
    SubjectKeyIdentifier,
)
from sectool.keys.certificates import (
    HeldCertificate,
    computed_key_identifiers,
    parse_certificate,
    public_key_bits,
    public_key_identity,
    read_certificate,
    read_extension,
)
from sectool.keys.names import (
    normalised_name,
    odd_key_identifiers,
    odd_name,
    unsigned_serial_number,
)
from sectool.keys.problems import KeyFileError, KeyProblem
from sectool.outcome import (
    Binding,
    CertificateFingerprint,
    PublicKeyDigest,
    RecipientKey,
)
from sectool.values import dataclass

# --- what is asked of each private key, wherever it lies: file or token ---------------------------


class HeldOperations(KeyOperations, Protocol):
    """One private key by what it can do, with what is public of it."""

    @property
    def public_key_info(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""

    @property
    def algorithm(self) -> str:
        """Algorithm and size, such as ``RSA 2048``."""

    @property
    def is_on_token(self) -> bool:
        """Whether each use is one of a token: slow, and counted or asked about by some."""

    def called(self, label: str) -> HeldOperations:
        """The same key under another label."""

    @property
    def portable(self) -> PortableKey:
        """The same key for another process; a secret."""


class PortableKey(Protocol):
    """A private key, or the way to it, as a value that pickles; a secret."""

    def restore(self, label: str) -> HeldOperations:
        """The key again, in milliseconds: it was checked when it was loaded.

        Args:
            label: of the key.

        Raises:
            RunError: it lies on a token that does not let this process in.
        """


# --- all of them ----------------------------------------------------------------------------------

_Name = bytes | tuple[Hashable, int]
"""Subject key identifier, or issuer as it is compared and serial number."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class HeldKey:
    """One private key of the history with the certificates that were issued for it."""

    operations: HeldOperations
    certificates: tuple[HeldCertificate, ...]
    """Oldest first; several after renewals, none for a bare key file."""
    source: Path
    """The first file the key was found in."""

    @cached_property
    def public_key_info(self) -> bytes:
        """DER of the SubjectPublicKeyInfo, as the private key has it."""
        return self.operations.public_key_info

    @cached_property
    def public_key_digest(self) -> PublicKeyDigest:
        """SHA-256 of that, lower-case hexadecimal: what a person names the key by."""
        return PublicKeyDigest(hashlib.sha256(self.public_key_info).hexdigest())


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One certificate of the history, or one key without any: a line of ``sectool keys``."""

    source: Path
    algorithm: str
    """Algorithm and size of the key, such as ``RSA 2048``."""
    has_certificate: bool
    subject: str = ""
    """RFC 4514 string."""
    issuer: str = ""
    """As ``RecipientKey`` has it."""
    serial_number: str = ""
    """Lower-case hexadecimal."""
    subject_key_identifier: str = ""
    """Lower-case hexadecimal: of the certificate, else SHA-1 of the public key."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    fingerprint: CertificateFingerprint = CertificateFingerprint("")
    """SHA-256 of the certificate, lower-case hexadecimal."""


def newest_entry(key: HeldKey) -> HistoryEntry:
    """The line of a key with the certificate that was issued for it last."""
    return list(_entries(key))[-1]


def identifiers_of(key: HeldKey) -> Iterator[RecipientIdentifier]:
    """What a RecipientInfo may call a key by."""
    for certificate in key.certificates:
        yield IssuerAndSerialNumber(certificate.issuer, certificate.serial_number)
    yield from map(SubjectKeyIdentifier, dict.fromkeys(_key_identifiers(key)))


@dataclass(frozen=True, slots=True)
class MaterialKey:
    """One key, or the way to it."""

    key: PortableKey = field(repr=False)
    certificates: tuple[bytes, ...] = field(repr=False)
    """DER."""
    label: str
    source: Path


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """The secrets of a key history, for the workers of one run.

    It goes through the initialiser of the pool and nowhere else: never to a
    disk, a log or an error text. Workers need neither passphrases nor the key
    files, which may be gone by then.
    """

    keys: tuple[MaterialKey, ...] = field(repr=False)
    senders: tuple[bytes, ...] = field(default=(), repr=False)
    """Certificates without a key, in DER."""
    secrets: SharedSecrets = NO_SECRETS
    tries_unnamed_keys: bool = False
    bindings: frozenset[Binding] = frozenset()


class KeyHistory:
    """All keys of one user; a ``KeySource``, and ``SenderKeys`` by its certificates.

    Args:
        keys: in any order, each key once.
        problems: what could not be used of the files.
        senders: certificates without a key, of people who wrote the mail.
        others: all certificates without a key, which may tell whose a recipient's is.
        secrets: shared keys and passwords.
        tries_unnamed_keys: whether keys without certificate are tried on all mail.
        tries_tokens: whether keys on tokens are tried on certificates that are not at hand.
        bindings: of certificates that are not at hand to keys.
        guesses: the same, of which nothing proves yet that they are right.
        maximum_workers: processes that may use the keys at once; None: any number.
    """

    def __init__(
        self,
        keys: Iterable[HeldKey],
        problems: Iterable[KeyProblem] = (),
        *,
        senders: Iterable[HeldCertificate] = (),
        others: Iterable[HeldCertificate] = (),
        secrets: SharedSecrets = NO_SECRETS,
        tries_unnamed_keys: bool = False,
        tries_tokens: bool = False,
        bindings: Iterable[Binding] = (),
        guesses: Iterable[Binding] = (),
        maximum_workers: int | None = None,
    ) -> None:
        self.keys = tuple(keys)
        self.problems = tuple(problems)
        self.senders = tuple(senders)
        self.others = tuple(others)
        self.secrets = secrets
        self.tries_unnamed_keys = tries_unnamed_keys
        self.tries_tokens = tries_tokens
        self.maximum_workers = maximum_workers
        held = {key.public_key_digest: key.operations for key in self.keys}
        self.bindings = frozenset(one for one in bindings if one.public_key in held)
        self.guesses = frozenset(one for one in guesses if one.public_key in held)
        self._bound: defaultdict[RecipientKey, list[HeldOperations]] = defaultdict(list)
        for one in sorted(self.bindings | self.guesses, key=lambda one: one.public_key):
            _add(self._bound[one.recipient], held[one.public_key])
        self._by_name: defaultdict[_Name, list[HeldOperations]] = defaultdict(list)
        self._by_odd_name: defaultdict[_Name, list[HeldOperations]] = defaultdict(list)
        self._serial_numbers: set[int] = set()
        self._public_keys: defaultdict[_Name, dict[bytes, None]] = defaultdict(dict)
        for key in self.keys:
            self._index(key)
        for certificate in self.senders:
            self._index_sender(certificate)

    def _index(self, key: HeldKey) -> None:
        for certificate in key.certificates:
            name = _name_of(certificate)
            _add(self._by_name[name], key.operations)
            _add(self._by_odd_name[odd_name(name)], key.operations)
            _add(
                self._by_odd_name[public_key_identity(certificate.public_key_info)], key.operations
            )
            self._serial_numbers.add(unsigned_serial_number(certificate.serial_number))
            self._index_sender(certificate)
        for key_identifier in _key_identifiers(key):
            _add(self._by_name[key_identifier], key.operations)
        _add(self._by_odd_name[public_key_identity(key.public_key_info)], key.operations)

    def _index_sender(self, certificate: HeldCertificate) -> None:
        bits = public_key_bits(certificate.public_key_info)
        self._public_keys[_name_of(certificate)][bits] = None
        if certificate.subject_key_identifier is not None:
            self._public_keys[certificate.subject_key_identifier][bits] = None

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"KeyHistory({len(self.keys)} keys, {len(self.problems)} problems)"

    def find(self, identifier: RecipientIdentifier) -> Sequence[KeyOperations]:
        """As ``KeySource`` has it; keys that are named oddly, or bound, where no other is."""
        found: Sequence[KeyOperations] = ()
        if self._may_hold(identifier):
            name = _name(identifier)
            found = self._by_name.get(name) or self._find_oddly(name)[0]
        if not found and self._bound:
            found = self._bound.get(recipient_of(identifier), ())
        return tuple(found)

    def holds(self, identifier: RecipientIdentifier) -> bool:
        """Whether it has a key of that name."""
        return bool(self.find(identifier))

    def why_odd(self, identifier: RecipientIdentifier | None) -> str:
        """What is odd about the name of a key, in words; empty where nothing is."""
        if identifier is None or not self._may_hold(identifier):
            return ""
        name = _name(identifier)
        return "" if name in self._by_name else self._find_oddly(name)[1]

    def _may_hold(self, identifier: RecipientIdentifier) -> bool:
        """False without a look at the issuer's name, which costs time, for nearly all others."""
        if isinstance(identifier, SubjectKeyIdentifier):
            return True
        return unsigned_serial_number(identifier.serial_number) in self._serial_numbers

    def _find_oddly(self, name: _Name) -> tuple[Sequence[HeldOperations], str]:
        if isinstance(name, bytes):
            for value, how in odd_key_identifiers(name):
                if found := self._by_name.get(value) or self._by_odd_name.get(value):
                    return found, f"the recipient is named oddly: {how}"
            return (), ""
        found = self._by_odd_name.get(odd_name(name))
        how = "its issuer is written in another order, or its serial number with another sign"
        return (found, f"the recipient is named oddly: {how}") if found else ((), "")

    def is_guessed(self, identifier: RecipientIdentifier) -> bool:
        """Whether nothing proves that the recipient is one of these keys."""
        if not self.guesses or self._by_name.get(_name(identifier)):
            return False
        recipient = recipient_of(identifier)
        return any(one.recipient == recipient for one in self.guesses - self.bindings)

    def bind(self, bindings: Iterable[Binding], guesses: Iterable[Binding] = ()) -> KeyHistory:
        """The same keys, which also open mail to some certificates that are not at hand.

        Args:
            bindings: by which they do; those to keys that are not held are left out.
            guesses: by which they may, so that what they open may be left to a person.
        """
        return self._with(
            bindings=self.bindings.union(bindings), guesses=self.guesses.union(guesses)
        )

    def alone(self, public_key: PublicKeyDigest, recipient: RecipientKey) -> KeyHistory:
        """One of the keys, on trial for a recipient, and nothing else.

        Args:
            public_key: SHA-256 of its SubjectPublicKeyInfo, lower-case hexadecimal.
            recipient: without an address.
        """
        keys = (key for key in self.keys if key.public_key_digest == public_key)
        return KeyHistory(
            (replace(key, certificates=()) for key in keys),
            guesses=(Binding(recipient, public_key),),
        )

    def find_public_keys(self, identifier: RecipientIdentifier) -> Sequence[bytes]:
        return tuple(self._public_keys.get(_name(identifier), ()))

    @property
    def keys_without_certificate(self) -> tuple[HeldOperations, ...]:
        """Keys that no issuer and serial number can name."""
        return tuple(key.operations for key in self.keys if not key.certificates)

    @property
    def unnamed_keys(self) -> tuple[HeldOperations, ...]:
        """Keys that are to be tried on all mail."""
        return self.keys_without_certificate if self.tries_unnamed_keys else ()

    @cached_property
    def entries(self) -> tuple[HistoryEntry, ...]:
        """One for each certificate and each key without any, by start of validity."""
        found = (entry for key in self.keys for entry in _entries(key))
        return tuple(sorted(found, key=lambda e: (e.not_before or _NEVER, e.fingerprint)))

    def with_keys(self, keys: Iterable[HeldKey]) -> KeyHistory:
        """The same history with these keys in the place of its own."""
        return self._with(keys=keys)

    def of_keys(self, keys: Iterable[HeldKey]) -> KeyHistory:
        """What some of the keys alone open, without what is shared."""
        return self._with(keys=keys, secrets=NO_SECRETS)

    def _with(self, **changes: Any) -> KeyHistory:
        """The same history but for some of the constructor's arguments."""
        arguments = {name: getattr(self, name) for name in inspect.signature(KeyHistory).parameters}
        return KeyHistory(**{**arguments, **changes})

    @property
    def material(self) -> KeyMaterial:
        """The secrets, for the pool's initialiser only."""
        return KeyMaterial(
            keys=tuple(_material(key) for key in self.keys),
            senders=tuple(certificate.der for certificate in self.senders),
            secrets=self.secrets,
            tries_unnamed_keys=self.tries_unnamed_keys,
            bindings=self.bindings,
        )

    @classmethod
    def from_material(cls, material: KeyMaterial) -> KeyHistory:
        """The same history in a worker, in milliseconds: the keys were checked by the parent."""
        return cls(
            (_from_material(key) for key in material.keys),
            senders=(read_certificate(der) for der in material.senders),
            secrets=material.secrets,
            tries_unnamed_keys=material.tries_unnamed_keys,
            bindings=material.bindings,
        )


def _name(identifier: RecipientIdentifier) -> _Name:
    if isinstance(identifier, SubjectKeyIdentifier):
        return identifier.value
    return normalised_name(identifier.issuer), identifier.serial_number


def _name_of(certificate: HeldCertificate) -> tuple[Hashable, int]:
    return normalised_name(certificate.issuer), certificate.serial_number


def _add(keys: list[HeldOperations], key: HeldOperations) -> None:
    if all(key is not other for other in keys):
        keys.append(key)


def _key_identifiers(key: HeldKey) -> Iterator[bytes]:
    yield from computed_key_identifiers(key.public_key_info)
    for certificate in key.certificates:
        if certificate.subject_key_identifier is not None:
            yield certificate.subject_key_identifier
        if certificate.public_key_info != key.public_key_info:
            yield from computed_key_identifiers(certificate.public_key_info)


def _entries(key: HeldKey) -> Iterator[HistoryEntry]:
    algorithm = key.operations.algorithm
    bits = public_key_bits(key.public_key_info)
    computed = hashlib.sha1(bits, usedforsecurity=False).digest()
    if not key.certificates:
        yield HistoryEntry(key.source, algorithm, False, subject_key_identifier=computed.hex())
    for certificate in key.certificates:
        not_before, not_after = certificate.validity or (None, None)
        named = recipient_of(IssuerAndSerialNumber(certificate.issuer, certificate.serial_number))
        yield HistoryEntry(
            source=key.source,
            algorithm=algorithm,
            has_certificate=True,
            subject=certificate.subject_name,
            issuer=named.issuer,
            serial_number=named.serial_number,
            subject_key_identifier=(certificate.subject_key_identifier or computed).hex(),
            not_before=not_before,
            not_after=not_after,
            fingerprint=certificate.fingerprint,
        )


def _material(key: HeldKey) -> MaterialKey:
    return MaterialKey(
        key=key.operations.portable,
        certificates=tuple(certificate.der for certificate in key.certificates),
        label=key.operations.label,
        source=key.source,
    )


def _from_material(key: MaterialKey) -> HeldKey:
    return HeldKey(
        operations=key.key.restore(key.label),
        certificates=tuple(read_certificate(der) for der in key.certificates),
        source=key.source,
    )


def authority_names(history: KeyHistory) -> dict[str, set[bytes]]:
    """The issuers of all certificates whose key is held.

    Returns:
        For each issuer name (RFC 4514) the authority key identifiers
        (RFC 5280 section 4.2.1.1) that its certificates carry. The set is
        empty where a certificate carries none, since its authority may be any.
    """
    found: dict[str, set[bytes]] = {}
    nameless = set()
    for key in history.keys:
        for certificate in key.certificates:
            identifiers = found.setdefault(certificate.issuer_name, set())
            identifier = _identifier(certificate.der)
            if identifier is None:
                nameless.add(certificate.issuer_name)
            else:
                identifiers.add(identifier)
    return {name: set() if name in nameless else found[name] for name in found}


def _identifier(der: bytes) -> bytes | None:
    try:
        found = read_extension(parse_certificate(der), x509.AuthorityKeyIdentifier)
    except KeyFileError:
        return None
    return None if found is None else found.key_identifier
