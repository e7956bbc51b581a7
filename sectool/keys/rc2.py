"""RC2 decryption in CBC mode (RFC 2268), for old PKCS#12 files.

Windows and OpenSSL before 3.0 shut the certificates of a PKCS#12 in RC2 with
40 bits, a key size that no current library offers. Decrypts only.
"""

from __future__ import annotations

BLOCK_BYTES = 8

_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
_SHIFTS = (1, 2, 3, 5)


def decrypt_cbc(key: bytes, effective_bits: int, iv: bytes, ciphertext: bytes) -> bytes:
    """Plaintext with its padding.

    Args:
        key: 1 to 128 bytes.
        effective_bits: 1 to 1024.
        iv: 8 bytes.
        ciphertext: whole blocks of 8 bytes.
    """
    words = _expand(key, effective_bits)
    plaintext, before = bytearray(), iv
    for start in range(0, len(ciphertext), BLOCK_BYTES):
        block = ciphertext[start : start + BLOCK_BYTES]
        opened = _decrypt_block(words, block)
        plaintext += bytes(left ^ right for left, right in zip(opened, before, strict=True))
        before = block
    return bytes(plaintext)


def _expand(key: bytes, effective_bits: int) -> list[int]:
    """The 64 words of the expanded key (RFC 2268 section 2)."""
    octets = bytearray(key)
    while len(octets) < 128:
        octets.append(_PI[(octets[-1] + octets[-len(key)]) & 0xFF])
    effective_bytes = (effective_bits + 7) // 8
    mask = 0xFF >> (8 * effective_bytes - effective_bits)
    position = 128 - effective_bytes
    octets[position] = _PI[octets[position] & mask]
    for i in range(position - 1, -1, -1):
        octets[i] = _PI[octets[i + 1] ^ octets[i + effective_bytes]]
    return [octets[i] | octets[i + 1] << 8 for i in range(0, 128, 2)]


def _decrypt_block(words: list[int], block: bytes) -> bytes:
    """Section 4: five rounds, a mash, six rounds, a mash, five rounds."""
    state = [block[i] | block[i + 1] << 8 for i in range(0, BLOCK_BYTES, 2)]
    for mixing in range(15, -1, -1):
        _unmix(state, words, 4 * mixing)
        if mixing in {11, 5}:
            _unmash(state, words)
    return b"".join(word.to_bytes(2, "little") for word in state)


def _unmix(state: list[int], words: list[int], first: int) -> None:
    for i in (3, 2, 1, 0):
        shift = _SHIFTS[i]
        word = (state[i] >> shift | state[i] << (16 - shift)) & 0xFFFF
        chosen = (state[i - 1] & state[i - 2]) + (~state[i - 1] & state[i - 3])
        state[i] = (word - words[first + i] - chosen) & 0xFFFF


def _unmash(state: list[int], words: list[int]) -> None:
    for i in (3, 2, 1, 0):
        state[i] = (state[i] - words[state[i - 1] & 63]) & 0xFFFF
