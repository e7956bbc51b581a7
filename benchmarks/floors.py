"""What sectool is held against in Python: nothing but the work itself, and M2Crypto.

Run as a file, since M2Crypto is of another interpreter::

    python3 floors.py decrypt|scan|m2crypto MAILDIR OUTPUT KEY PROCESSES

Each prints how many messages it did and ends with an error where one of them failed.
"""

from __future__ import annotations

import binascii
import hashlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import partial

Work = Callable[[bytes], bytes]
"""From a stored message to what is written."""


def body_of(stored: bytes) -> bytes:
    """The decoded body."""
    return binascii.a2b_base64(stored.partition(b"\n\n")[2])


def scan(_key: str) -> Work:
    """Read, base64, SHA-256."""

    def digest(stored: bytes) -> bytes:
        return hashlib.sha256(body_of(stored)).hexdigest().encode()

    return digest


def m2crypto(key: str) -> Work:
    """As people decrypt mail with M2Crypto."""
    bio = importlib.import_module("M2Crypto.BIO")
    smime = importlib.import_module("M2Crypto.SMIME").SMIME()
    load = importlib.import_module("M2Crypto.SMIME").smime_load_pkcs7_bio
    smime.load_key(key, key)

    def decrypt(stored: bytes) -> bytes:
        envelope, _ = load(bio.MemoryBuffer(stored))
        plaintext: bytes = smime.decrypt(envelope)
        return plaintext

    return decrypt


def elements(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """Tag, start and end of each element of DER."""
    found = []
    while start < end:
        tag, length, start = data[start], data[start + 1], start + 2
        if length >= 0x80:
            octets = length & 0x7F
            length = int.from_bytes(data[start : start + octets], "big")
            start += octets
        found.append((tag, start, start + length))
        start += length
    return found


def decrypt(key: str) -> Work:
    """Read, base64, RSA, cipher; the key is that of the first recipient."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    with open(key, "rb") as stream:
        private = serialization.load_pem_private_key(stream.read(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    pkcs1 = padding.PKCS1v15()

    def decrypted(stored: bytes) -> bytes:
        data = body_of(stored)
        inside = partial(elements, data)
        (_, start, end), *_ = inside(0, len(data))
        _, (_, start, end) = inside(start, end)
        ((_, start, end),) = inside(start, end)
        _, (_, *recipients), (_, start, end) = inside(start, end)
        (_, *first), *_ = inside(*recipients)
        *_, (_, *encrypted_key) = inside(*first)
        _, (_, *algorithm), (_, *encrypted) = inside(start, end)
        _, (_, *iv) = inside(*algorithm)
        content_key = private.decrypt(data[slice(*encrypted_key)], pkcs1)
        mode = modes.CBC(data[slice(*iv)])
        of_triple_des = iv[1] - iv[0] == 8
        cipher = Cipher((TripleDES if of_triple_des else AES)(content_key), mode)
        padded = cipher.decryptor().update(memoryview(data)[slice(*encrypted)])
        return padded[: -padded[-1]]

    return decrypted


KINDS: dict[str, Callable[[str], Work]] = {"scan": scan, "m2crypto": m2crypto, "decrypt": decrypt}


def one_process(kind: str, maildir: str, output: str, key: str, names: list[str]) -> None:
    """Works on some messages; writes each plaintext to a file, or all digests to one."""
    work = KINDS[kind](key)
    digests = []
    for name in names:
        with open(os.path.join(maildir, "cur", name), "rb") as stream:
            done = work(stream.read())
        if kind == "scan":
            digests.append(done)
        else:
            with open(os.path.join(output, name), "wb") as stream:
                stream.write(done)
    if digests:
        with open(os.path.join(output, names[0]), "wb") as stream:
            stream.write(b"\n".join(digests))


def main() -> None:
    """Does what the command line asks for."""
    kind, maildir, output, key, processes = sys.argv[1:]
    names = sorted(os.listdir(os.path.join(maildir, "cur")))
    context = multiprocessing.get_context("fork")
    shares = [names[number :: int(processes)] for number in range(int(processes))]
    started = [
        context.Process(target=one_process, args=(kind, maildir, output, key, share))
        for share in shares
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        sys.exit("a process failed")
    print(len(names))


if __name__ == "__main__":
    main()
