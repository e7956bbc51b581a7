"""OpenSSL's own library, asked in this process for what ``openssl cms -decrypt`` does.

It shares no code with sectool, whose cryptography comes with packages of their own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_long, c_uint, c_void_p
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

_BINARY = 0x80  # CMS_BINARY
_BIO_CTRL_INFO = 3

_Passphrase = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_void_p)
_NO_PASSPHRASE = _Passphrase(lambda *_: -1)  # else a person would be asked for it

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "BIO_ctrl": (c_long, (c_void_p, c_int, c_long, c_void_p)),
    "BIO_free": (c_int, (c_void_p,)),
    "BIO_new": (c_void_p, (c_void_p,)),
    "BIO_new_mem_buf": (c_void_p, (c_char_p, c_int)),
    "BIO_s_mem": (c_void_p, ()),
    "CMS_ContentInfo_free": (None, (c_void_p,)),
    "CMS_decrypt": (c_int, (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_uint)),
    "ERR_clear_error": (None, ()),
    "PEM_read_bio_PrivateKey": (c_void_p, (c_void_p, c_void_p, _Passphrase, c_void_p)),
    "PEM_read_bio_X509": (c_void_p, (c_void_p, c_void_p, _Passphrase, c_void_p)),
    "d2i_CMS_bio": (c_void_p, (c_void_p, c_void_p)),
}


@cache
def _library() -> ctypes.CDLL:
    name = find_library("crypto")
    assert name is not None, "OpenSSL is not installed"
    library = ctypes.CDLL(name)
    for function, (result, arguments) in _FUNCTIONS.items():
        found = getattr(library, function)
        found.restype, found.argtypes = result, arguments
    return library


@contextmanager
def _reading(text: bytes) -> Iterator[int]:
    source = _library().BIO_new_mem_buf(text, len(text))
    try:
        yield source
    finally:
        _library().BIO_free(source)


@cache
def _private_key(text: bytes) -> int:
    """As the library has it, for as long as this process lives."""
    with _reading(text) as source:
        key: int | None = _library().PEM_read_bio_PrivateKey(source, None, _NO_PASSPHRASE, None)
    assert key, "OpenSSL reads no key"
    return key


@cache
def _certificate(text: bytes) -> int:
    with _reading(text) as source:
        found: int | None = _library().PEM_read_bio_X509(source, None, _NO_PASSPHRASE, None)
    assert found, "OpenSSL reads no certificate"
    return found


def decrypted(envelope: bytes, private_key: Path, certificate: Path | None) -> bytes | None:
    """What is inside an envelope, in DER or BER; None where the key does not open it.

    Args:
        envelope: the CMS.
        private_key: PEM, without a passphrase.
        certificate: PEM, of the recipient; None: whichever of them the key opens.
    """
    library = _library()
    key = _private_key(private_key.read_bytes())
    recipient = None if certificate is None else _certificate(certificate.read_bytes())
    target = library.BIO_new(library.BIO_s_mem())
    with _reading(envelope) as source:
        cms = library.d2i_CMS_bio(source, None)
    try:
        if not cms or not library.CMS_decrypt(cms, key, recipient, None, target, _BINARY):
            return None
        text = c_void_p()
        size = library.BIO_ctrl(target, _BIO_CTRL_INFO, 0, ctypes.byref(text))
        return ctypes.string_at(text, size) if size else b""
    finally:
        library.CMS_ContentInfo_free(cms)
        library.BIO_free(target)
        library.ERR_clear_error()
