"""Content encryption that old mail needs to be opened, and nothing is ever sealed with."""

from __future__ import annotations

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES

from sectool.cms import oids
from sectool.cms.ciphers import CBC, ContentEncryption

_DES_KEY_SIZE = 8


def _triple_des(key: bytes) -> TripleDES:
    """Triple DES with two or three keys; parity bits are not looked at.

    The two-key form K1, K2 is K1, K2, K1 (RFC 3370 section 5.1).
    """
    return TripleDES(key if len(key) == 3 * _DES_KEY_SIZE else key + key[:_DES_KEY_SIZE])


WEAK_CONTENT_ENCRYPTION = (
    ContentEncryption(
        oid=oids.DES_EDE3_CBC,
        key_sizes=(3 * _DES_KEY_SIZE, 2 * _DES_KEY_SIZE),
        block_size=8,
        is_aead=False,
        specification="RFC 3370 section 5.1",
        block_cipher=_triple_des,
        read=CBC.read,
    ),
)
