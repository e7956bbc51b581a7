"""Bounds on hostile CMS input: one table, each bound with its reason.

Nothing here bounds the encrypted content itself, which is streamed.
"""

from __future__ import annotations

from sectool.asn1.reader import ReaderLimits
from sectool.message import IN_MEMORY
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Limits(ReaderLimits):
    """What one CMS structure may ask of us; sizes are in bytes."""

    recipients: int = 2_000
    """Recipients of one envelope that are kept, in its order; all are read, and those that
    a held key names are kept whatever their place."""
    wanted_recipients: int = 1_000
    """Recipients beyond those that are kept because a held key names them."""
    recipient_infos_size: int = 8 * 1024 * 1024
    """What is kept of them takes: two thousand RSA-16384 recipients fit."""
    name_size: int = 256 * 1024
    """An issuer Name that is kept; a recipient with a longer one is only counted."""
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
    buffered_content: int = IN_MEMORY
    """Encrypted content up to this size is proven in memory; larger content is
    read twice instead."""


DEFAULT_LIMITS = Limits()
