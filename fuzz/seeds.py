"""Honest mail and keys for a fuzzer to begin with: the sample's, and any directories named."""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PBES,
    PKCS12Certificate,
    serialize_key_and_certificates,
)

from sectool import keys, smime
from sectool.keys.certificates import HeldCertificate
from sectool.keys.private_keys import SoftwareKey
from sectool.message import BytesContent

SAMPLE = Path(__file__).parents[1] / "sample_mailbox" / "mail"
SAMPLE_KEYS = SAMPLE.parent / "keys"
LARGEST = 64 * 1024
"""Bytes of a seed; larger ones slow a fuzzer and teach it nothing more."""
PASSPHRASE = b"sample"
"""Of the sample's key files."""
ROUNDS = 40
"""Of a key derivation: a fuzzer opens each file many times."""
HEADER = b"Subject: x\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"


def files(directories: Iterable[Path] = (), sample: Path = SAMPLE) -> Iterator[bytes]:
    """The content of every file of a size to use."""
    for directory in (sample, *directories):
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield path.read_bytes()


def messages(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """Stored messages; what is bare CMS becomes the body of one."""
    for raw in files(directories):
        yield HEADER + base64.encodebytes(raw) if raw[:1] == b"\x30" else raw


def envelopes(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """CMS, bare or taken out of messages."""
    for raw in files(directories):
        if raw[:1] == b"\x30":
            yield raw
            continue
        content = BytesContent(raw)
        for part in smime.take_inventory(content).parts:
            with part.source.open() as stream:
                yield stream.read()


def key_files(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """Key files; certificates as DER besides, and the sample's keys in all forms."""
    for raw in files(directories, SAMPLE_KEYS):
        yield raw
        label, _, rest = raw.partition(b"-----\n")
        body, end, _ = rest.partition(b"-----END")
        if end and label == b"-----BEGIN CERTIFICATE":
            yield base64.b64decode(body)
    specification = keys.KeySpecification((SAMPLE_KEYS / "old",), SAMPLE_KEYS / "passphrase.txt")
    oldest = keys.load_key_history(specification).keys[0]
    assert isinstance(oldest.operations, SoftwareKey)
    assert isinstance(oldest.operations.private_key, rsa.RSAPrivateKey)
    yield from _forms(oldest.operations.private_key, oldest.certificates)
    for curve in (ec.SECP256R1(), ec.SECP521R1()):
        yield from _forms(ec.generate_private_key(curve), ())
    for beginning in (
        "feedfeed00000002",
        "cececece00000002",
        "1ef1b5b000000000",
        "0702000000a40000",
    ):
        yield bytes.fromhex(beginning) + bytes(64)


def _forms(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    certificates: Iterable[HeldCertificate],
) -> Iterator[bytes]:
    """A private key as programs write it, bare and with the passphrase of the sample."""
    shut = BestAvailableEncryption(PASSPHRASE)
    for encoding in (Encoding.PEM, Encoding.DER):
        for encryption in (NoEncryption(), shut):
            yield private.private_bytes(encoding, PrivateFormat.PKCS8, encryption)
    yield private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, shut)
    yield private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parsed = [each.parsed for each in certificates if each.parsed is not None]
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(ROUNDS).hmac_hash(SHA256())
    encryptions: tuple[KeySerializationEncryption, ...] = (
        NoEncryption(),
        builder.key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC).build(PASSPHRASE),
        builder.key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC).build(PASSPHRASE),
    )
    others = [PKCS12Certificate(each, None) for each in parsed[1:]]
    first = parsed[0] if parsed else None
    for chosen in encryptions:
        yield serialize_key_and_certificates(b"k", private, first, others, chosen)


def answers(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """What a server tells of a session, and of each message."""
    names = ('""', '"a \\"b\\\\"', "{3}\r\na\r\n", "&U,BTFw-", '"&AOk-.x"', "[x] NIL")
    for name in names:
        for attributes in ("()", "(\\HasNoChildren \\Sent)"):
            yield f'* LIST {attributes} "." {name}\r\nS1 OK [X y] done\r\n'.encode()
    yield b'* NAMESPACE (("" "/")) NIL (("Shared/" "/" "X-A" ("b")))\r\n* SEARCH 1 2 4294967295\r\n'
    yield b"* OK [UIDVALIDITY 7] x\r\n* 3 EXISTS\r\n* FLAGS (\\Seen $x)\r\n+ go on\r\nS1 NO no\r\n"
    for number, raw in enumerate(messages(directories), 1):
        told = f'* {number} FETCH (UID {number} FLAGS (\\Seen) INTERNALDATE " 1-Jan-2001 10:00:00 '
        told += f'+0200" RFC822.SIZE {len(raw)} BODY[]<0> {{{len(raw)}}}\r\n'
        yield told.encode() + raw + b")\r\nS2 OK done\r\n"


MAKERS = {
    "cms": envelopes,
    "imap": answers,
    "in-place": messages,
    "inventory": messages,
    "keys": key_files,
    "plaintext": messages,
    "splice": messages,
}
"""What each target begins with."""


def main() -> None:
    """Writes seeds into a directory, named by digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=MAKERS)
    parser.add_argument("into", type=Path)
    parser.add_argument("directories", type=Path, nargs="*")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    for raw in MAKERS[options.kind](options.directories):
        (options.into / hashlib.sha256(raw).hexdigest()[:16]).write_bytes(raw)


if __name__ == "__main__":
    main()
