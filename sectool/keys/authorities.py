"""Who issued the certificates of a key history: by name, and by the key that signed."""

from __future__ import annotations

from cryptography import x509

from sectool.keys.certificates import parse_certificate, read_extension
from sectool.keys.history import KeyHistory
from sectool.keys.problems import KeyFileError


def authority_names(history: KeyHistory) -> dict[str, set[bytes]]:
    """The issuers of all certificates whose key is held.

    Returns:
        For each issuer name (RFC 4514) the authority key identifiers
        (RFC 5280 section 4.2.1.1) that its certificates carry. The set is
        empty where a certificate carries none, since its authority may be any.
    """
    found: dict[str, set[bytes]] = {}
    nameless = set()
    for key in history.keys:
        for certificate in key.certificates:
            identifiers = found.setdefault(certificate.issuer_name, set())
            identifier = _identifier(certificate.der)
            if identifier is None:
                nameless.add(certificate.issuer_name)
            else:
                identifiers.add(identifier)
    return {name: set() if name in nameless else found[name] for name in found}


def _identifier(der: bytes) -> bytes | None:
    try:
        found = read_extension(parse_certificate(der), x509.AuthorityKeyIdentifier)
    except KeyFileError:
        return None
    return None if found is None else found.key_identifier
