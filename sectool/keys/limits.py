"""Every bound on key files, in one place: key files come from strangers too.

A file above a bound is reported as a ``KeyProblem``; nothing is cut short in
silence.
"""

from __future__ import annotations

MAXIMUM_FILE_BYTES = 8 * 1024 * 1024
"""Of one key file; a PKCS#12 with a thousand keys has about 4 MB."""

MAXIMUM_FILES = 10_000
"""Files looked at below one directory."""

MAXIMUM_DIRECTORY_DEPTH = 64
"""Levels of directories below one."""

MAXIMUM_KEYS = 2_000
"""Private keys of one file."""

MAXIMUM_CERTIFICATES = 20_000
"""Certificates of one file."""

MAXIMUM_ELEMENTS = 50_000
"""Direct children of one ASN.1 value, and blocks of one PEM file."""

MAXIMUM_DEPTH = 24
"""Nesting of ASN.1 values; a PKCS#12 reaches about 8 within one layer of encryption."""

MAXIMUM_NESTED_BAGS = 4
"""SafeContents within SafeContents (RFC 7292 section 4.2.6)."""

MAXIMUM_NAME_BYTES = 256 * 1024
"""Of a distinguished name that is normalised; a longer one matches byte for byte only."""

MAXIMUM_ITERATIONS = 5_000_000
"""Of one key derivation; the JDK draws the same line."""

MAXIMUM_SALT_BYTES = 4096
"""Of one key derivation; the PKCS#12 derivation hashes the salt in every round."""

MAXIMUM_SCRYPT_BYTES = 256 * 1024 * 1024
"""Memory of one scrypt derivation (RFC 7914): 128 N r bytes."""

MAXIMUM_RSA_BITS = 16_384
"""OpenSSL works with no larger modulus."""

MAXIMUM_VALIDATED_RSA_BITS = 8_192
"""Largest RSA key whose primes are tested: 16384 bits take half a minute."""

MAXIMUM_PASSPHRASE_FILE_BYTES = 1024 * 1024
"""Of a passphrase file or CSV, and of what a passphrase command prints."""

MAXIMUM_QUESTIONS = 3
"""How often a person is asked for the passphrase of one file."""
