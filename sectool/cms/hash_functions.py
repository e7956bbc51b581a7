"""The hash functions of CMS (RFC 3370, RFC 5754), by identifier and by name."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sectool.cms import oids
from sectool.cms.seams import PKCS1v15, RSAPadding

HASH_NAMES = {
    oids.SHA1: "sha1",
    oids.SHA224: "sha224",
    oids.SHA256: "sha256",
    oids.SHA384: "sha384",
    oids.SHA512: "sha512",
}
"""As ``hashlib`` spells them."""

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def padding_of(asked: RSAPadding) -> padding.AsymmetricPadding:
    """A padding of RSA as the library that computes it takes it."""
    if isinstance(asked, PKCS1v15):
        return padding.PKCS1v15()
    return padding.OAEP(
        mgf=padding.MGF1(HASHES[asked.mgf_hash_name]()),
        algorithm=HASHES[asked.hash_name](),
        label=asked.label or None,
    )
