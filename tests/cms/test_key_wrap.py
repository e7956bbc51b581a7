"""RFC 3394 works over every block cipher as it does over AES, and checks itself."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from sectool.cms import oids
from sectool.cms.key_wrap import KEY_WRAPS, block_cipher_unwrap
from sectool.errors import DecryptionFailed

KEY = bytes(range(32))
CIPHERS = (
    *(oids.CAMELLIA_128_WRAP, oids.CAMELLIA_192_WRAP, oids.CAMELLIA_256_WRAP),
    oids.SEED_WRAP,
)


@pytest.mark.parametrize("size", [16, 24, 32, 64])
@pytest.mark.parametrize("key_size", [16, 24, 32])
def test_over_aes_it_is_what_the_primitive_library_does(key_size: int, size: int) -> None:
    key_encryption_key, key = KEY[:key_size], bytes(range(size))
    wrapped = aes_key_wrap(key_encryption_key, key)
    assert block_cipher_unwrap(AES, key_encryption_key, wrapped) == key


@pytest.mark.parametrize("oid", CIPHERS, ids=oids.key_encryption_name)
def test_what_was_not_wrapped_under_the_key_is_refused(oid: str) -> None:
    row = KEY_WRAPS[oid]
    with pytest.raises(DecryptionFailed):
        row.unwrap(KEY[: row.key_size], bytes(40))


@pytest.mark.parametrize("size", [0, 1, 8, 16, 23, 25])
@pytest.mark.parametrize("oid", CIPHERS, ids=oids.key_encryption_name)
def test_what_is_no_wrapped_key_by_its_length_is_refused(oid: str, size: int) -> None:
    row = KEY_WRAPS[oid]
    with pytest.raises(DecryptionFailed):
        row.unwrap(KEY[: row.key_size], bytes(size))
