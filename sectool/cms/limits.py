"""Bounds on hostile CMS input: one table, each bound with its reason.

Nothing here bounds the encrypted content itself, which is streamed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one CMS structure may ask of us; sizes are in bytes."""

    depth: int = 32
    """Constructed elements open at a time. Real mail needs about twelve; nested
    segments of an OCTET STRING add one each."""
    recipients: int = 20_000
    """Recipient identifiers of one envelope: large lists send to a few thousand."""
    recipient_infos_size: int = 32 * 1024 * 1024
    """All RecipientInfos as encoded: ten thousand RSA-16384 recipients fit."""
    unwrap_attempts: int = 100
    """Private-key operations for one envelope: a person holds some forty keys, and
    a repeated RecipientInfo must not buy endless work (or token operations)."""
    unnamed_attempts: int = 500
    """Private-key operations for one envelope with keys that nothing names: under a
    second in software."""
    password_attempts: int = 10
    """Passwords times PasswordRecipientInfos of one envelope: each costs a derivation."""
    password_iterations: int = 1_000_000
    """Of PBKDF2 for one password: under a second."""
    name_size: int = 16 * 1024
    """An issuer Name."""
    identifier_size: int = 1024
    """A subject key identifier, serial number or object identifier."""
    encrypted_key_size: int = 16 * 1024
    """An encryptedKey or KEM ciphertext: RSA-16384 takes 2048, ML-KEM-1024 1568."""
    parameters_size: int = 16 * 1024
    """The parameters of an AlgorithmIdentifier."""
    originator_info_size: int = 256 * 1024
    """Certificates of a sender that are kept; more are passed over."""
    attributes_size: int = 1024 * 1024
    """Authenticated attributes, which are held to be authenticated."""
    signers: int = 16
    """SignerInfos of one SignedData: people sign with one or two keys."""
    certificates: int = 200
    """Certificates that one SignedData brings: chains of some signers."""
    certificate_size: int = 256 * 1024
    """One certificate; a few have large pictures inside."""
    mac_size: int = 64
    """The authentication tag of an AuthEnvelopedData."""
    buffered_content: int = 1024 * 1024
    """Encrypted content up to this size is proven in memory; larger content is
    read twice instead."""


DEFAULT_LIMITS = Limits()
