"""Who issued the certificates of a key history: by name, and by the key that signed."""

from __future__ import annotations

from cryptography import x509

from sectool.keys.history import KeyHistory


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
        extensions = x509.load_der_x509_certificate(der).extensions
        return extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
