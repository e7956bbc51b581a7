"""What one key file holds, gathered object by object: one that fails costs itself only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.certificates import HeldCertificate, public_key_identity, read_certificate
from sectool.keys.encryption import decryptions
from sectool.keys.passphrases import FilePassphrases
from sectool.keys.private_keys import encode_public_key, load_private_key
from sectool.keys.private_structures import KnownKeys
from sectool.keys.problems import KeyFileError, damaged, over_limit, passphrase_needed
from sectool.values import dataclass


@dataclass(slots=True)
class FileContents:
    """Keys, certificates and problems of one file, in the order of the file."""

    passphrases: FilePassphrases
    wants_keys: bool = True
    """False where only certificates are asked for: then no passphrase is spent on PEM keys."""
    private_keys: list[PrivateKeyTypes] = field(default_factory=list, repr=False)
    certificates: list[HeldCertificate] = field(default_factory=list)
    problems: list[KeyFileError] = field(default_factory=list)
    known: KnownKeys = field(default_factory=dict, repr=False)
    """Keys that were checked before, in this file or another one."""
    checks_mac: bool = True
    """False where a person wants a PKCS#12 file read although its MAC says nothing for it."""
    _links: dict[bytes, tuple[list[PrivateKeyTypes], list[HeldCertificate]]] = field(
        default_factory=dict, repr=False
    )
    is_trial: bool = False
    """Whether all that is asked is if anything opens."""

    def trial(self) -> FileContents:
        """Empty contents of the same file, to see whether its passphrase is right."""
        return FileContents(self.passphrases, known=self.known, is_trial=True)

    @property
    def is_decided(self) -> bool:
        """Whether a trial is over: one key opened, or something did not."""
        return self.is_trial and bool(self.private_keys or self.problems)

    def add_private_key(self, encoded: bytes | memoryview) -> None:
        """Takes a private key that is not encrypted."""
        self.attempt(lambda: self._keep(load_private_key(encoded, self.known)))

    def add_encrypted_key(self, encoded: Node) -> None:
        """Takes an EncryptedPrivateKeyInfo (RFC 5958 section 3)."""
        self.attempt(lambda: self._keep(self._open_key(encoded)))

    def add_certificate(self, encoded: bytes) -> None:
        """Takes a certificate."""
        self.attempt(lambda: self._keep_certificate(read_certificate(encoded)), is_key=False)

    @contextmanager
    def linked(self, link: bytes) -> Iterator[None]:
        """What is added meanwhile belongs together with what else has this name in the file."""
        keys, certificates = len(self.private_keys), len(self.certificates)
        yield
        together = self._links.setdefault(link, ([], []))
        together[0].extend(self.private_keys[keys:])
        together[1].extend(self.certificates[certificates:])

    def refuse_contradictions(self) -> None:
        """Leaves out each key to which the file gives the certificate of another key alone."""
        held = {public_key_identity(each.public_key_info) for each in self.certificates}
        for link, (keys, certificates) in self._links.items():
            for key in keys if link and certificates else ():
                if public_key_identity(encode_public_key(key)) not in held:
                    self.private_keys.remove(key)
                    self.problems.append(damaged("a private key is not that of its certificate"))

    def attempt(self, act: Callable[[], None], *, is_key: bool = True) -> None:
        """Does ``act``; its failure becomes a problem of the file.

        Args:
            act: adds something to the contents.
            is_key: False where no private key is lost with it.
        """
        try:
            act()
        except KeyFileError as error:
            error.withholds_key = error.withholds_key and is_key
            if len(self.problems) < limits.MAXIMUM_KEYS:
                self.problems.append(error)

    def open(
        self,
        algorithm: Node,
        ciphertext: bytes,
        is_right: Callable[[bytes], bool],
        what: str,
    ) -> bytes:
        """Plaintext under the first passphrase that makes sense of the ciphertext.

        Raises:
            KeyFileError: no passphrase does, or the encryption is unknown,
                damaged or over a limit.
        """
        return self.first_right(
            lambda passphrase: decryptions(algorithm, ciphertext, passphrase),
            is_right,
            what,
        )

    def first_right(
        self,
        plaintexts: Callable[[str], Iterable[bytes]],
        is_right: Callable[[bytes], bool],
        what: str,
    ) -> bytes:
        """The first plaintext that makes sense, over all passphrases.

        Args:
            plaintexts: what one passphrase makes of the ciphertext.
            is_right: looks at the form of a plaintext.
            what: the thing that stays shut otherwise, for the error.
        """
        for passphrase in self.passphrases:
            for plaintext in plaintexts(passphrase):
                if is_right(plaintext):
                    self.passphrases.worked(passphrase)
                    return plaintext
        raise passphrase_needed(what, given=self.passphrases.given)

    def _open_key(self, encoded: Node) -> PrivateKeyTypes:
        algorithm, ciphertext = encoded.pair("an encrypted private key is damaged")
        what = "a private key"
        plaintext = self.open(algorithm, ciphertext.octets(), _is_private_key_info, what)
        return load_private_key(plaintext, self.known)

    def _keep(self, key: PrivateKeyTypes) -> None:
        if len(self.private_keys) >= limits.MAXIMUM_KEYS:
            raise over_limit(f"more than {limits.MAXIMUM_KEYS} private keys in one file")
        self.private_keys.append(key)

    def _keep_certificate(self, certificate: HeldCertificate) -> None:
        if len(self.certificates) >= limits.MAXIMUM_CERTIFICATES:
            raise over_limit(f"more than {limits.MAXIMUM_CERTIFICATES} certificates in one file")
        self.certificates.append(certificate)


def _is_private_key_info(plaintext: bytes) -> bool:
    """Whether this has the form of PKCS#8, so that the passphrase was right."""
    try:
        parts = islice(ber.read(plaintext).expect(tags.SEQUENCE).values(), 3)
        shape = [part.tag for part in parts]
    except SectoolError:
        return False
    return shape == [tags.INTEGER, tags.SEQUENCE, tags.OCTET_STRING]
