"""RSA keys that are checked once in a process.

OpenSSL checks the numbers of a key each time it is given them, which is the dearest act of a short
run. What came of the same numbers before is given again, and what was refused is refused again.
"""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

_Numbers = rsa.RSAPrivateNumbers


@cache
def _checked(
    numbers: tuple[int, ...], *, unsafe_skip_rsa_key_validation: bool
) -> rsa.RSAPrivateKey:
    p, q, d, dmp1, dmq1, iqmp, exponent, modulus = numbers
    public = rsa.RSAPublicNumbers(exponent, modulus)
    return _Numbers(p, q, d, dmp1, dmq1, iqmp, public).private_key(
        unsafe_skip_rsa_key_validation=unsafe_skip_rsa_key_validation
    )


class CheckedOnce:
    """Stands where ``rsa.RSAPrivateNumbers`` stands."""

    def __init__(
        self,
        p: int,
        q: int,
        d: int,
        dmp1: int,
        dmq1: int,
        iqmp: int,
        public_numbers: rsa.RSAPublicNumbers,
    ) -> None:
        self._numbers = (p, q, d, dmp1, dmq1, iqmp, public_numbers.e, public_numbers.n)

    def private_key(self, *, unsafe_skip_rsa_key_validation: bool = False) -> rsa.RSAPrivateKey:
        return _checked(
            self._numbers, unsafe_skip_rsa_key_validation=unsafe_skip_rsa_key_validation
        )
