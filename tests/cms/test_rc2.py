"""RC2 against the test vectors of RFC 2268 section 5."""

from __future__ import annotations

import pytest

from sectool.cms.rc2 import RC2Decryptor, effective_key_bits

VECTORS = [
    ("0000000000000000", 63, "0000000000000000", "ebb773f993278eff"),
    ("ffffffffffffffff", 64, "ffffffffffffffff", "278b27e42e2f0d49"),
    ("3000000000000000", 64, "1000000000000001", "30649edf9be7d2c2"),
    ("88bca90e90875a", 64, "0000000000000000", "6ccf4308974c267f"),
    ("88bca90e90875a7f0f79c384627bafb2", 64, "0000000000000000", "1a807d272bbe5db1"),
    ("88bca90e90875a7f0f79c384627bafb2", 128, "0000000000000000", "2269552ab0f85ca6"),
]


@pytest.mark.parametrize(("key", "effective_bits", "plaintext", "ciphertext"), VECTORS)
def test_a_block_opens(key: str, effective_bits: int, plaintext: str, ciphertext: str) -> None:
    decryptor = RC2Decryptor(bytes.fromhex(key), effective_bits, bytes(8))
    opened = decryptor.update(bytes.fromhex(ciphertext)) + decryptor.finalize()
    assert opened.hex() == plaintext


def test_blocks_may_come_in_any_pieces() -> None:
    key, ciphertext = bytes(range(16)), bytes(range(64))
    whole = RC2Decryptor(key, 40, bytes(8)).update(ciphertext)
    decryptor = RC2Decryptor(key, 40, bytes(8))
    assert b"".join(decryptor.update(ciphertext[i : i + 5]) for i in range(0, 64, 5)) == whole
    assert decryptor.finalize() == b""


def test_a_part_of_a_block_is_an_error() -> None:
    decryptor = RC2Decryptor(bytes(16), 40, bytes(8))
    decryptor.update(bytes(9))
    with pytest.raises(ValueError, match="whole blocks"):
        decryptor.finalize()


@pytest.mark.parametrize(
    ("version", "bits"), [(160, 40), (120, 64), (58, 128), (52, 56), (256, 256), (1024, 1024)]
)
def test_versions_stand_for_key_lengths(version: int, bits: int) -> None:
    assert effective_key_bits(version) == bits


def test_every_key_length_has_its_own_version() -> None:
    assert sorted(map(effective_key_bits, range(256))) == list(range(256))
