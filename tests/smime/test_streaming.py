"""A message of any size passes in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sectool import cms
from sectool.message import FileContent
from sectool.mime.base64_text import Base64Writer

ROOT = Path(__file__).parents[2]

SCRIPT = """
import resource
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.asymmetric import padding

from sectool import cms, smime
from sectool.message import FileContent

path, pem, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

content = FileContent(path)
inventory = smime.take_inventory(content)
print(inventory.state, inventory.reason)
if kind == "encrypted":
    private_key = load_pem_private_key(pem.read_bytes(), None)

    class Key:
        label = "bob"

        def decrypt_rsa(self, encrypted_key, rsa_padding):
            return private_key.decrypt(encrypted_key, padding.PKCS1v15())

        def find(self, identifier):
            return [self]

    (part,) = inventory.parts
    inner = smime.find_opening(part, Key()).inner
    inner.write_to(cms.DISCARD)
    print(inner.size)

    def write_cms(part, sink):
        with part.source.open() as stream:
            while block := stream.read(100_000):
                sink.write(block)

    with open(path.with_suffix(".out"), "wb") as sink:
        smime.write_spliced(content, inventory.parts, sink, write_cms, smime_type="enveloped-data")
    again = smime.take_inventory(FileContent(path.with_suffix(".out")))
    print(again.identity == inventory.identity)
"""

ROOM = 30_000_000
"""Bytes to work in, beside what the program takes before it sees the message."""


@pytest.fixture(scope="module")
def size(*, whole: bool) -> int:
    """Bytes of a message that does not fit in there."""
    return 200_000_000 if whole else 2 * ROOM


def run(path: Path, pem: Path, kind: str) -> list[str]:
    """What the script prints about a message."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(pem), kind, str(ROOM)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def write_text(path: Path, size: int) -> None:
    line = b"0123456789abcdef" * 4 + b"\n"
    with path.open("wb") as stream:
        for _ in range(size // (len(line) * 10_000)):
            stream.write(line * 10_000)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_an_encrypted_message_passes_in_half_its_size(tmp_path: Path, bob: Any, size: int) -> None:
    """B70."""
    inner, pem, raw = tmp_path / "inner", tmp_path / "pem", tmp_path / "raw"
    write_text(inner, size * 3 // 4)
    inner_content = FileContent(inner)
    with inner.open("r+b") as stream:
        stream.write(b"Content-Type: text/plain\n\n")
    pem.write_bytes(bob.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with raw.open("wb") as stream:
        stream.write(b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n")
        writer = Base64Writer(stream, b"\n", ends_last_line=True)
        cms.seal_envelope(inner_content, writer, [bob.recipient])
        writer.finish()
    assert raw.stat().st_size > size
    assert run(raw, pem, "encrypted") == ["encrypted ", str(inner_content.size), "True"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("break_lines", [True, False], ids=["lines", "one line"])
def test_a_clear_multipart_passes_in_half_its_size(
    tmp_path: Path, break_lines: bool, size: int
) -> None:
    raw = tmp_path / "raw"
    with raw.open("wb") as stream:
        stream.write(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n")
        block = b"--b is no delimiter" * 50_000 + b"\n" * break_lines
        for _ in range(size // len(block)):
            stream.write(block)
        stream.write(b"\n--b--\n")
    assert run(raw, raw, "clear") == ["clear "]
