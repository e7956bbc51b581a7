"""Public keys that anybody could open the mail of: no certificate makes them fit to encrypt to."""

from __future__ import annotations

import math
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sectool.keys import limits

MINIMUM_RSA_BITS = 2048
LARGEST_TRIAL_DIVISOR = 65_536
"""A modulus is the product of two large primes, so that each smaller divisor shows it is none."""


def why_unsound(key: PublicKeyTypes) -> str:
    """What is wrong with a public key, to stand behind "has"; empty where nothing shows.

    The parser holds points against their curve (SEC 1 section 2.3.4) and refuses a public
    exponent that is even or below 3; what is asked here is what it takes.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return _why_unsound_rsa(key)
    if isinstance(key, x25519.X25519PublicKey):
        return _why_unsound_x25519(key)
    return ""


def _why_unsound_rsa(key: rsa.RSAPublicKey) -> str:
    """RFC 8017 section 3.1: the modulus is a product of distinct odd primes."""
    modulus = key.public_numbers().n
    if key.key_size < MINIMUM_RSA_BITS:
        return f"an RSA key of {key.key_size} bits, under {MINIMUM_RSA_BITS}"
    if key.key_size > limits.MAXIMUM_RSA_BITS:
        return f"an RSA key of {key.key_size} bits, over {limits.MAXIMUM_RSA_BITS}"
    if modulus % 2 == 0:
        return "an RSA key with an even modulus"
    if math.gcd(modulus, _small_primes()) != 1:
        return "an RSA key whose modulus has small factors"
    return ""


@cache
def _small_primes() -> int:
    """The product of all odd primes up to the largest trial divisor."""
    sieve = bytearray([1]) * (LARGEST_TRIAL_DIVISOR + 1)
    for number in range(3, math.isqrt(LARGEST_TRIAL_DIVISOR) + 1, 2):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return math.prod(n for n in range(3, LARGEST_TRIAL_DIVISOR + 1, 2) if sieve[n])


def _why_unsound_x25519(key: x25519.X25519PublicKey) -> str:
    """RFC 7748 section 6.1: with a point of low order every secret agreed on is zero."""
    try:
        secret = x25519.X25519PrivateKey.generate().exchange(key)
    except ValueError:
        return "an X25519 key of low order"
    return "" if any(secret) else "an X25519 key of low order"
