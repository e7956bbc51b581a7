"""Measures how often real mail is refused: the other half of never taking garbage for mail.

Opens everything of the directories named, and what openssl encrypts anew of each plaintext:
with PKCS#1 v1.5 and CBC, where nothing but the content itself speaks for it.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from base64 import encodebytes
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from benchmarks.wrong_key_mail import Keys, make_keys
from sectool import cms, smime
from sectool.errors import MessageError
from sectool.keys import KeyHistory, KeySpecification, load_key_history
from sectool.message import BytesContent

CIPHERS = ("-aes-128-cbc", "-aes-256-cbc", "-des3")
HEADER = b"Subject: x\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"


def stored(directory: Path) -> Iterator[bytes]:
    """Every file as a stored message; bare CMS as the body of one."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            raw = path.read_bytes()
            yield HEADER + encodebytes(raw) if raw[:1] == b"\x30" else raw


def open_all(raw: bytes, history: KeyHistory, outcomes: Counter[str]) -> Iterator[bytes]:
    """The plaintext of each part that opens to data; counts what became of every part."""
    content = BytesContent(raw)
    for part in smime.take_inventory(content).parts:
        try:
            inner = smime.find_opening(part, history).inner
        except MessageError as error:
            outcomes[type(error).__name__] += 1
            continue
        outcomes["opened"] += 1
        if inner.content_type == cms.ID_DATA:
            sink = BytesIO()
            inner.write_to(sink)
            yield sink.getvalue()


def encrypt(plaintext: bytes, keys: Keys, cipher: str) -> bytes:
    """A stored message that openssl made."""
    source = keys.directory.parent / "plaintext"
    source.write_bytes(plaintext)
    pem = keys.directory / "held.pem"
    command = ["openssl", "cms", "-encrypt", "-binary", cipher, "-in", str(source), str(pem)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def main() -> None:
    """Prints what became of the mail, and of what was encrypted anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=Path, action="append", required=True)
    parser.add_argument("--passphrase-file", type=Path)
    parser.add_argument("directories", type=Path, nargs="+")
    options = parser.parse_args()
    history = load_key_history(KeySpecification(tuple(options.keys), options.passphrase_file), None)
    found: Counter[str] = Counter()
    plaintexts = {
        plaintext
        for directory in options.directories
        for raw in stored(directory)
        for plaintext in open_all(raw, history, found)
    }
    print(dict(found))
    anew: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "keys")
        directory.mkdir()
        keys = make_keys(directory)
        own = load_key_history(KeySpecification((directory,)), None)
        for plaintext in plaintexts:
            for cipher in CIPHERS:
                raw = encrypt(plaintext, keys, cipher)
                same = [one == plaintext for one in open_all(raw, own, anew)]
                anew["differs"] += same.count(False)
    print(f"{len(plaintexts)} plaintexts encrypted anew with {len(CIPHERS)} ciphers: {dict(anew)}")


if __name__ == "__main__":
    main()
