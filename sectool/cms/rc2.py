"""RC2 decryption in CBC mode with any effective key length (RFC 2268); decrypts only."""

from __future__ import annotations

BLOCK_SIZE = 8
EFFECTIVE_BITS = range(40, 1024 + 1)
"""Effective key lengths that can be opened."""
KEY_SIZES = range(5, 128 + 1)
"""Bytes a key may have."""

_VERSIONS = bytes.fromhex(
    "bd56eaf2a2f1ac2ab093d19c1b33fdd03004b6dc7ddf324bf7cb459b31bb215a"
    "419fe1d94a4d9edaa0682cc3275f80363eeefb951afecea834a913f0a63fd80c"
    "7824af2352c16717f56690e7e807b86048e61e53f392a4728c08156e860084fa"
    "f47f8a4219f6dbcd148d5012ba3c064eecb33511a1888e2b9499b77174d3e4bf"
    "3ade960ebc0aed77fc376b03798962c6d7c0d27c6a8b22a35b055d0275d561e3"
    "188f5551ad1f0b5e85e5c25763ca3d6cb4c5cc70b291590d4720c84f58e001e2"
    "1638c46f3b0f6546be7e2d7b82f940b51d73f8eb26c787972554b128aa989da5"
    "646d7ad4108144ef49d6ae2edd765c2fa71cc909699a83cf2939b9e94cff43ab"
)
"""RFC 2268 section 6: the version number of each effective key length below 256."""


def effective_key_bits(version: int) -> int:
    """The effective key length that an rc2ParameterVersion stands for (RFC 2268 section 6).

    The answer may lie outside ``EFFECTIVE_BITS``.
    """
    return _VERSIONS.index(version) if 0 <= version < len(_VERSIONS) else version


class RC2Decryptor:
    """One decryption under way; the padding is left where it is.

    Args:
        key: of a length in ``KEY_SIZES``.
        effective_bits: in ``EFFECTIVE_BITS``.
        iv: one block.
    """

    def __init__(self, key: bytes, effective_bits: int, iv: bytes) -> None:
        from Cryptodome.Cipher import ARC2  # noqa: PLC0415  # slow to load, and rare

        self._cipher = ARC2.new(  # type: ignore[call-arg]  # noqa: S304 - old mail is only read
            key, ARC2.MODE_CBC, iv=iv, effective_keylen=effective_bits
        )
        self._rest = b""

    def update(self, data: bytes, /) -> bytes:
        data = self._rest + data
        whole = len(data) - len(data) % BLOCK_SIZE
        self._rest = data[whole:]
        return self._cipher.decrypt(data[:whole])

    def finalize(self) -> bytes:
        if self._rest:
            raise ValueError("the data is not whole blocks")
        return b""
