"""Keys that were certified twice, of which only the newer certificate is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.checker import Key
from tests.support.mailboxes import NO_AUTHORITY, openssl

KINDS = {
    "rsa": ("-newkey", "rsa:2048"),
    "p-256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
}


@dataclass(frozen=True)
class Recertified:
    """One private key with two certificates."""

    older: Key
    """Whose certificate mail names."""
    newer: Key
    history: Path
    """Directory with the key and the newer certificate, and nothing else."""


def make_recertified(directory: Path, name: str, kind: str = "rsa") -> Recertified:
    """Makes such a key with the openssl command; both certificates have issuers of their own."""
    history = directory / f"{name}-history"
    history.mkdir(parents=True)
    key = history / f"{name}.key"
    older = Key(directory / f"{name}-older.crt", key)
    newer = Key(history / f"{name}.crt", key)
    usage = "keyUsage=keyEncipherment" if kind == "rsa" else "keyUsage=keyAgreement"
    owner = ("-addext", "subjectAltName=email:alice@example.org", *NO_AUTHORITY)
    openssl(
        *("req", "-x509", *KINDS[kind], "-nodes", "-days", "300", "-addext", usage),
        *owner,
        *("-subj", f"/O=Former Authority/CN={name}", "-keyout", key, "-out", older.certificate),
    )
    openssl(
        *("req", "-x509", "-key", key, "-days", "300", "-addext", usage),
        *owner,
        *("-subj", f"/O=Example/CN={name}", "-out", newer.certificate),
    )
    return Recertified(older, newer, history)


LONG = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"this is message %d, and more.\r\n" * 3
SHORT = b"Content-Type: text/plain; charset=utf-8\r\n\r\nthis is message %d\r\n"
HEADERLESS = b"Dear Bob,\r\n\r\nsee you there, number %d, and mind the step.\r\n" * 9


def written_to(
    number: int,
    *certificates: Path,
    work: Path,
    inner: bytes = LONG,
    cipher: str = "-aes256",
    options: tuple[str, ...] = (),
) -> bytes:
    """A stored message that openssl encrypted to certificates.

    Args:
        number: told in the message and in its Message-ID.
        certificates: of all recipients.
        work: directory for a file meanwhile.
        inner: what is encrypted, with a place for the number, once or more often.
        cipher: option of openssl.
        options: of each recipient.
    """
    source = work / f"inner-{number}"
    source.write_bytes(inner % ((number,) * inner.count(b"%d")))
    recipients = [word for path in certificates for word in ("-recip", path, *options)]
    try:
        smime = openssl("cms", "-encrypt", "-binary", cipher, "-in", source, *recipients)
    finally:
        source.unlink()
    header, _, body = smime.replace(b"\r\n", b"\n").partition(b"\n\n")
    return b"%s\nMessage-ID: <%d@example.org>\n\n%s" % (header, number, body)
