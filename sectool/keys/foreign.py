"""Key stores of other programs, told by their content, each with the command that converts it.

Nothing of them is opened here: their own program does that better, and a person
then has a file that every program reads.
"""

from __future__ import annotations

import re

from sectool.asn1 import tags
from sectool.errors import SectoolError
from sectool.keys import ber
from sectool.keys.problems import KeyFileError, unsupported
from sectool.values import dataclass

_KEYTOOL = "keytool -importkeystore -srckeystore {file} {type}-destkeystore {stem}.p12"
_KEYTOOL += " -deststoretype PKCS12"
_BOUNCY_CASTLE = " -providerclass org.bouncycastle.jce.provider.BouncyCastleProvider"
_BOUNCY_CASTLE += " -providerpath bcprov.jar"
_NSS = "pk12util -d sql:{directory} -o {stem}.p12 -n NAME, where certutil -d sql:{directory} -L"
_NSS += " lists the names"
_OPENSSL = "openssl rsa -inform {type} -in {file} -out {stem}.pem -provider legacy"
_OPENSSL += " -provider default"
_GPGSM = "gpgsm --export-secret-key-p12 --output {stem}.p12 USER-ID"
_WINDOWS = "certutil -user -exportPFX My SERIAL {stem}.pfx, on that machine and as that user"


def _keytool(kind: str) -> str:
    return _KEYTOOL.replace("{type}", f"-srcstoretype {kind} ")


@dataclass(frozen=True, slots=True)
class ForeignKind:
    """A kind of file that is not read here."""

    name: str
    """As a person knows it, with its article."""
    hint: str
    """What to do: a command, where ``{file}``, ``{directory}`` and ``{stem}`` stand for
    those of the file."""
    may_open_mail: bool = True
    """False for what holds no private key, or none that mail is encrypted to."""

    def error(self) -> KeyFileError:
        """Why a file of this kind is not used."""
        return unsupported(self.name, hint=self.hint, withholds_key=self.may_open_mail)


_JKS = ForeignKind("a Java key store (JKS)", _KEYTOOL.replace("{type}", ""))
_JCEKS = ForeignKind("a Java key store (JCEKS)", _keytool("JCEKS"))
_BKS = ForeignKind("a Bouncy Castle key store (BKS)", _keytool("BKS") + _BOUNCY_CASTLE)
_UBER = ForeignKind("a Bouncy Castle key store (UBER)", _keytool("UBER") + _BOUNCY_CASTLE)
_BCFKS = ForeignKind("a Bouncy Castle key store (BCFKS)", _keytool("BCFKS") + _BOUNCY_CASTLE)
_KEY4 = ForeignKind("the key database of Thunderbird or Firefox (key4.db)", _NSS)
_CERT9 = ForeignKind(
    "the certificate database of Thunderbird or Firefox (cert9.db); the keys lie in key4.db",
    _NSS,
    may_open_mail=False,
)
_KEY3 = ForeignKind(
    "the key database of an old Thunderbird or Firefox (key3.db)",
    "start a newer Thunderbird with this profile, which writes key4.db",
)
_PVK = ForeignKind("a private key of Microsoft (PVK)", _OPENSSL.replace("{type}", "PVK"))
_BLOB = ForeignKind(
    "a private key blob of Microsoft (PRIVATEKEYBLOB)", _OPENSSL.replace("{type}", "MSBLOB")
)
_CNG = ForeignKind("a private key blob of Windows (CNG)", _WINDOWS)
_DPAPI = ForeignKind("a private key that Windows has sealed to its user (DPAPI)", _WINDOWS)
_SST = ForeignKind(
    "a serialised certificate store of Windows (SST)",
    "export the certificates as PKCS#7 (.p7b)",
    may_open_mail=False,
)
_KEYCHAIN = ForeignKind(
    "a keychain of macOS", "security export -k {file} -t identities -f pkcs12 -o {stem}.p12"
)
_GNUPG = ForeignKind("a private key of GnuPG's agent", _GPGSM)
_KEYBOX = ForeignKind("a keybox of GnuPG", _GPGSM, may_open_mail=False)
_PUTTY = ForeignKind(
    "a private key of PuTTY",
    "puttygen {file} -O private-openssh -o {stem}.pem",
    may_open_mail=False,
)
_OPENSSH = ForeignKind(
    "an OpenSSH private key",
    "these keys are not used for mail; ssh-keygen -p -m PKCS8 -f COPY turns a copy of it into PEM",
    may_open_mail=False,
)
_OPENPGP = ForeignKind(
    "an OpenPGP key",
    "it opens OpenPGP mail, not S/MIME; gpg reads it",
    may_open_mail=False,
)
_ENTRUST = ForeignKind(
    "a profile of Entrust (EPF)", "export it as PKCS#12 with the program that made it"
)
_WEB_KEY = ForeignKind("a JSON Web Key", "convert it to PEM or PKCS#12")
_XML = ForeignKind("a private key of .NET in XML", "convert it to PEM or PKCS#12")

_BEGINNINGS: tuple[tuple[bytes, ForeignKind], ...] = (
    (b"\xfe\xed\xfe\xed", _JKS),
    (b"\xce\xce\xce\xce", _JCEKS),
    (b"\x1e\xf1\xb5\xb0", _PVK),
    (b"\x00\x00\x00\x00CERT", _SST),
    (b"kych", _KEYCHAIN),
    (b"PuTTY-User-Key-File-", _PUTTY),
    (b"RSA3", _CNG),
    (b"ECK2", _CNG),
    (b"ECK4", _CNG),
    (b"ECK6", _CNG),
)
_PATTERNS: tuple[tuple[re.Pattern[bytes], ForeignKind], ...] = (
    (re.compile(rb"\x07\x02\0\0.{4}RSA2", re.DOTALL), _BLOB),
    # magic, bits and exponent size, which tell it from text that begins so
    (re.compile(rb"RSA2..\0\0.\0\0\0", re.DOTALL), _CNG),
    (re.compile(rb".{8}KBXf", re.DOTALL), _KEYBOX),
    (re.compile(rb"\((?:11:private-key|21:protected-private-key|20:shadowed-private)"), _GNUPG),
    (re.compile(rb"(?:[A-Z][a-z-]+: [^\n]*\n)*Key: \((?:protected-|shadowed-)?private"), _GNUPG),
    # version, salt of 20 bytes, iterations; then the kind of the first entry, or its end
    (re.compile(rb"\0\0\0[\1\2]\0\0\0\x14.{20}\0\0..[\0-\4](?:\0|.{20}\Z)", re.DOTALL), _BKS),
)
_MARKED: tuple[tuple[bytes, tuple[bytes, ...], ForeignKind], ...] = (
    (b"{", (b'"kty"', b'"d"'), _WEB_KEY),
    (b"<RSAKeyValue>", (b"<D>",), _XML),
    (b"[", (b"[Password Token]", b"[Digital Signature]"), _ENTRUST),
)
"""What stands first, and what stands somewhere."""
_UBER_BEGINS = re.compile(rb"\0\0\0[\0\1]\0\0\0\x14.{20}\0\0..", re.DOTALL)
_UBER_HEADER_BYTES = 32
_TWOFISH_BLOCK_BYTES = 16
_SQLITE = b"SQLite format 3\0"
_DBM = b"\x00\x06\x15\x61"
_DPAPI_PROVIDER = bytes.fromhex("d08c9ddf0115d1118c7a00c04fc297eb")

ARMOUR = {
    "OPENSSH PRIVATE KEY": _OPENSSH,
    "SSH2 ENCRYPTED PRIVATE KEY": _OPENSSH,
    "PGP PRIVATE KEY BLOCK": _OPENPGP,
    "PGP PUBLIC KEY BLOCK": _OPENPGP,
}
"""By what stands in the first line of their armour."""


def recognise_foreign(raw: bytes) -> ForeignKind | None:
    """What other program's key file this is; None for anything else."""
    for beginning, kind in _BEGINNINGS:
        if raw.startswith(beginning):
            return kind
    for pattern, kind in _PATTERNS:
        if pattern.match(raw):
            return kind
    text = raw.lstrip()
    for first, markers, kind in _MARKED:
        if text.startswith(first) and all(marker in text for marker in markers):
            return kind
    return _recognise_database(raw)


def _recognise_database(raw: bytes) -> ForeignKind | None:
    if raw.startswith(_SQLITE):
        return _KEY4 if b"nssPrivate" in raw else _CERT9 if b"nssPublic" in raw else None
    if raw.startswith(_DBM) and b"global-salt" in raw:
        return _KEY3
    if _DPAPI_PROVIDER in raw[:4096]:
        return _DPAPI
    ciphertext_bytes = len(raw) - _UBER_HEADER_BYTES
    if _UBER_BEGINS.match(raw) and ciphertext_bytes and not ciphertext_bytes % _TWOFISH_BLOCK_BYTES:
        return _UBER
    return _BCFKS if _is_bcfks(raw) else None


def _is_bcfks(raw: bytes) -> bool:
    """ObjectStore of Bouncy Castle: encrypted data, and how its integrity is checked."""
    try:
        parts = ber.read(raw).expect(tags.SEQUENCE).children()
        if [part.tag for part in parts] != [tags.SEQUENCE, tags.SEQUENCE]:
            return False
        store, check = ([child.tag for child in part.children()] for part in parts)
    except SectoolError:
        return False
    return store == [tags.SEQUENCE, tags.OCTET_STRING] and check[:2] == [
        tags.SEQUENCE,
        tags.SEQUENCE,
    ]
