"""Whatever is missing, emptied or of another kind in a key file is told in one line (B84, B85)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.asn1 import der, tags
from sectool.errors import PassphraseError, SectoolError, UsageError
from sectool.keys import ber
from sectool.keys.history import KeyHistory
from tests.keys.conftest import PASSPHRASE

Load = Callable[..., KeyHistory]

NULL = b"\5\0"


def _mutants(encoding: bytes) -> Iterator[bytes]:
    """The value with one value somewhere in it left out, emptied or made a NULL."""
    node = ber.read(encoding)
    if node.constructed:
        yield from _with_other_children(
            node.tag | 0x20, [bytes(c.encoding) for c in node.children()]
        )
    elif node.tag == tags.OCTET_STRING:
        for mutant in _inside(bytes(node.content)):
            yield der.element(node.tag, mutant)
    yield der.element(node.tag | (0x20 if node.constructed else 0), b"")


def _with_other_children(identifier: int, children: list[bytes]) -> Iterator[bytes]:
    for number, child in enumerate(children):
        before, after = b"".join(children[:number]), b"".join(children[number + 1 :])
        yield der.element(identifier, before + after)
        yield der.element(identifier, before + NULL + after)
        for mutant in _mutants(child):
            yield der.element(identifier, before + mutant + after)


def _inside(content: bytes) -> Iterator[bytes]:
    """Of an octet string that holds values of its own."""
    try:
        whole = len(ber.read(content).encoding) == len(content) and content[:1] == b"\x30"
    except SectoolError:
        return
    if whole:
        yield from _mutants(content)


PKCS12 = ("pkcs12", "-export", "-inkey", "{key}", "-in", "{certificate}")
PKCS8 = ("pkcs8", "-topk8", "-outform", "DER", "-in", "{key}")
FILES: dict[str, tuple[str, ...]] = {
    "PKCS#12, PBES2": (*PKCS12, "-iter", "2", "-passout", "{pass}"),
    "PKCS#12, RC2-40 and 3DES": (*PKCS12, "-iter", "2", "-passout", "{pass}", "-legacy"),
    "PKCS#12, in clear": (
        *(*PKCS12, "-iter", "2", "-passout", "{pass}"),
        *("-keypbe", "NONE", "-certpbe", "NONE", "-nomac"),
    ),
    "PKCS#8, PBES2": (*PKCS8, "-passout", "{pass}", "-iter", "2"),
    "PKCS#8, PBES2 with RC2": (
        *(*PKCS8, "-passout", "{pass}", "-iter", "2"),
        *("-v2", "rc2-64-cbc", "-provider", "legacy", "-provider", "default"),
    ),
    "PKCS#8, PBES1": (
        *(*PKCS8, "-passout", "{pass}", "-iter", "2"),
        *("-v1", "PBE-MD5-DES", "-provider", "legacy", "-provider", "default"),
    ),
    "PKCS#8, scrypt": (*PKCS8, "-passout", "{pass}", "-scrypt", "-scrypt_N", "2"),
    "PKCS#8, in clear": (*PKCS8, "-nocrypt"),
    "certificate": ("x509", "-outform", "DER", "-in", "{certificate}"),
}


@pytest.fixture
def pair(rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Any, tmp_path: Path) -> dict[str, str]:
    made = tmp_path / "made"
    made.mkdir()
    (made / "key").write_bytes(encode(rsa_key, pem=True))
    (made / "certificate").write_bytes(certify(rsa_key).public_bytes(Encoding.PEM))
    return {
        "key": str(made / "key"),
        "certificate": str(made / "certificate"),
        "pass": f"pass:{PASSPHRASE}",
    }


@pytest.mark.parametrize("kind", FILES)
def test_a_key_file_that_lacks_anything_is_told_in_one_line(
    *, kind: str, pair: dict[str, str], openssl: Any, load: Load, tmp_path: Path, whole: bool
) -> None:
    # 10 seconds for all kinds; of what may lack, the sample has every sixth in the order written.
    sound, path = tmp_path / "sound", tmp_path / "history"
    openssl(*(word.format(**pair) for word in FILES[kind]), "-out", sound)
    told: list[str] = []
    for mutant in islice(_mutants(sound.read_bytes()), 0, None, 1 if whole else 6):
        path.write_bytes(mutant)
        told += _told(load, path)
    assert len(told) > 1
    assert [text for text in told if not text or "\n" in text] == []


def _told(load: Load, path: Path) -> list[str]:
    """What loading a history says that is wrong; any other error than ours ends the test."""
    try:
        history = load(path)
    except (UsageError, PassphraseError) as error:
        return [error.message]
    return [problem.reason for problem in history.problems]
