"""Encrypts: by the ``openssl`` command, by a library's builder, and by hand in DER and BER.

Whatever is made is opened again and compared before it is used.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES, AES128, AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7EnvelopeBuilder, PKCS7Options

from making import der
from making.identities import Cast, Identity

ID_DATA = "1.2.840.113549.1.7.1"
ID_SIGNED_DATA = "1.2.840.113549.1.7.2"
ID_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
ID_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSAES_OAEP = "1.2.840.113549.1.1.7"
MGF1 = "1.2.840.113549.1.1.8"
SHA256 = "2.16.840.1.101.3.4.2.1"

CIPHERS = {
    "des-ede3-cbc": ("1.2.840.113549.3.7", 24),
    "aes-128-cbc": ("2.16.840.1.101.3.4.1.2", 16),
    "aes-192-cbc": ("2.16.840.1.101.3.4.1.22", 24),
    "aes-256-cbc": ("2.16.840.1.101.3.4.1.42", 32),
    "aes-128-gcm": ("2.16.840.1.101.3.4.1.6", 16),
    "aes-192-gcm": ("2.16.840.1.101.3.4.1.26", 24),
    "aes-256-gcm": ("2.16.840.1.101.3.4.1.46", 32),
}


@dataclass(frozen=True)
class Envelope:
    """One CMS message and what is known of it."""

    cms: bytes
    inner: bytes
    algorithm: str
    recipients: tuple[str, ...]
    covers: tuple[str, ...]
    content_type: str = ID_DATA
    openssl: bool = True
    """Whether the openssl command opens it."""


def run_openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[:2]}: {done.stderr.decode()}")
    return done.stdout


@dataclass(frozen=True)
class Mint:
    """Makes envelopes to the people of the sample."""

    cast: Cast
    scratch: Path
    made: list[Envelope] = field(default_factory=list)

    def _checked(self, envelope: Envelope) -> Envelope:
        """Opens it with openssl, for each of the owner's keys it names."""
        owners = [name for name in envelope.recipients if name.startswith("owner")]
        for name in owners if envelope.openssl else ():
            plaintext = self._decrypt(envelope.cms, name)
            if plaintext != envelope.inner:
                raise RuntimeError(f"openssl reads something else for {name}")
        self.made.append(envelope)
        return envelope

    def _decrypt(self, cms: bytes, name: str) -> bytes:
        certificate, key = (self.scratch / f"{name}.{kind}" for kind in ("pem", "key"))
        return run_openssl(
            "cms", "-decrypt", "-inform", "DER", "-binary",
            "-recip", certificate, "-inkey", key, data=cms,
        )  # fmt: skip

    # --- by the openssl command --------------------------------------------------

    def by_openssl(
        self,
        inner: bytes,
        *names: str,
        algorithm: str = "aes-256-cbc",
        oaep: str = "",
        keyid: bool = False,
        stream: bool = False,
        binary: bool = True,
    ) -> Envelope:
        """``openssl cms -encrypt``; without ``binary`` it turns line ends into CRLF itself."""
        cipher = {"des-ede3-cbc": "des3"}.get(algorithm, algorithm)
        arguments: list[str | Path] = ["cms", "-encrypt", "-outform", "DER", f"-{cipher}"]
        arguments += ["-binary"] * binary + ["-stream"] * stream + ["-keyid"] * keyid
        for name in names:
            arguments += ["-recip", self.scratch / f"{name}.pem"]
            if oaep:
                arguments += ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", f"rsa_oaep_md:{oaep}"]
        cms = run_openssl(*arguments, data=inner)
        if not binary:
            inner = self._decrypt(cms, names[0])
        covers = ["by-openssl", f"rsa-oaep-{oaep}" if oaep else "rsa-v1.5"]
        covers += ["subject-key-identifier"] * keyid + ["ber"] * stream
        if (cms[1] == 0x80) != stream:
            raise RuntimeError("openssl did not write the encoding that was asked for")
        return self._checked(Envelope(cms, inner, algorithm, names, tuple(covers)))

    # --- by a library's builder ----------------------------------------------------

    def by_builder(self, inner: bytes, *names: str, algorithm: str = "aes-128-cbc") -> Envelope:
        """The envelope builder of the cryptography package."""
        kind = {"aes-128-cbc": AES128, "aes-256-cbc": AES256}[algorithm]
        builder = PKCS7EnvelopeBuilder().set_data(inner).set_content_encryption_algorithm(kind)
        for name in names:
            builder = builder.add_recipient(self.cast[name].certificate)
        cms = builder.encrypt(Encoding.DER, [PKCS7Options.Binary])
        return self._checked(Envelope(cms, inner, algorithm, names, ("by-builder", "rsa-v1.5")))

    # --- by hand -------------------------------------------------------------------

    def by_hand(
        self,
        inner: bytes,
        *names: str,
        algorithm: str = "aes-256-cbc",
        oaep: str = "",
        keyid: bool = False,
        ber_chunk: int = 0,
        content_type: str = ID_DATA,
        tag_bytes: int = 16,
        tag_length_written: bool = True,
        attributes: bytes = b"",
    ) -> Envelope:
        """EnvelopedData or AuthEnvelopedData, octet by octet.

        Args:
            ber_chunk: octets of each piece of the content in indefinite-length
                BER; 0: DER.
            tag_length_written: whether ``aes-ICVlen`` stands in the parameters.
            attributes: DER of unprotectedAttrs without their tag.
        """
        object_identifier, key_bytes = CIPHERS[algorithm]
        key = os.urandom(key_bytes)
        if algorithm.endswith("gcm"):
            parameters, ciphertext, tag = _gcm(key, inner, tag_bytes, written=tag_length_written)
        else:
            parameters, ciphertext = _cbc(key, inner, triple=algorithm.startswith("des"))
            tag = b""
        identifier = der.sequence(der.oid(object_identifier), parameters)
        infos = [_recipient_info(self.cast[name], key, oaep, keyid=keyid) for name in names]
        version = 0 if tag else 2 if keyid or attributes else 0
        write = der.indefinite if ber_chunk else der.tlv
        content = write(0x30, der.oid(content_type), identifier, _content(ciphertext, ber_chunk))
        value = write(
            0x30,
            der.integer(version),
            der.set_of(*infos),
            content,
            der.octets(tag) if tag else b"",
            der.context(1, attributes) if attributes else b"",
        )
        outer = der.oid(ID_AUTH_ENVELOPED_DATA if tag else ID_ENVELOPED_DATA)
        cms = write(0x30, outer, write(0xA0, value))
        covers = ["by-hand", f"rsa-oaep-{oaep}" if oaep else "rsa-v1.5"]
        covers += ["subject-key-identifier"] * keyid + ["ber"] * bool(ber_chunk)
        covers += ["content-not-data"] * (content_type != ID_DATA)
        return self._checked(
            Envelope(
                cms, inner, algorithm, names, tuple(covers), content_type,
                openssl=tag_length_written,
            )
        )  # fmt: skip


def _cbc(key: bytes, inner: bytes, *, triple: bool) -> tuple[bytes, bytes]:
    block = 8 if triple else 16
    iv = os.urandom(block)
    count = block - len(inner) % block
    algorithm = TripleDES(key) if triple else AES(key)
    encryptor = Cipher(algorithm, CBC(iv)).encryptor()
    return der.octets(iv), encryptor.update(inner + bytes([count]) * count) + encryptor.finalize()


def _gcm(key: bytes, inner: bytes, tag_bytes: int, *, written: bool) -> tuple[bytes, bytes, bytes]:
    nonce = os.urandom(12)
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    ciphertext = encryptor.update(inner) + encryptor.finalize()
    tag = encryptor.tag[:tag_bytes]
    decryptor = Cipher(AES(key), GCM(nonce, tag, min_tag_length=tag_bytes)).decryptor()
    if decryptor.update(ciphertext) + decryptor.finalize() != inner:
        raise RuntimeError("the content does not open again")
    length = der.integer(tag_bytes) if written else b""
    return der.sequence(der.octets(nonce), length), ciphertext, tag


def _content(ciphertext: bytes, chunk: int) -> bytes:
    if not chunk:
        return der.context(0, ciphertext, constructed=False)
    pieces = (ciphertext[at : at + chunk] for at in range(0, len(ciphertext), chunk))
    return der.indefinite(0xA0, *(der.octets(piece) for piece in pieces))


def _recipient_info(identity: Identity, key: bytes, oaep: str, *, keyid: bool) -> bytes:
    """KeyTransRecipientInfo (RFC 5652 section 6.2.1)."""
    certificate = identity.certificate
    if keyid:
        rid = der.context(0, identity.subject_key_identifier, constructed=False)
    else:
        issuer = certificate.issuer.public_bytes()
        rid = der.sequence(issuer, der.integer(certificate.serial_number))
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    algorithm = der.sequence(der.oid(RSA_ENCRYPTION), der.null())
    if oaep:
        algorithm = der.sequence(der.oid(RSAES_OAEP), _oaep_parameters(oaep))
        digest = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[oaep]
        scheme = padding.OAEP(padding.MGF1(digest), digest, None)
    encrypted = identity.private_key.public_key().encrypt(key, scheme)
    version = der.integer(2 if keyid else 0)
    return der.sequence(version, rid, algorithm, der.octets(encrypted))


def _oaep_parameters(name: str) -> bytes:
    """RSAES-OAEP-params (RFC 4055 section 4.1); SHA-1 is the default and left out."""
    if name == "sha1":
        return der.sequence()
    digest = der.sequence(der.oid(SHA256), der.null())
    return der.sequence(der.context(0, digest), der.context(1, der.sequence(der.oid(MGF1), digest)))
