"""Honest mail for a fuzzer to begin with: the sample mailbox, and any directories named."""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sectool import smime
from sectool.message import BytesContent

SAMPLE = Path(__file__).parents[1] / "sample_mailbox" / "mail"
LARGEST = 64 * 1024
"""Bytes of a seed; larger ones slow a fuzzer and teach it nothing more."""
HEADER = b"Subject: x\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"


def files(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """The content of every file of a size to use."""
    for directory in (SAMPLE, *directories):
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield path.read_bytes()


def messages(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """Stored messages; what is bare CMS becomes the body of one."""
    for raw in files(directories):
        yield HEADER + base64.encodebytes(raw) if raw[:1] == b"\x30" else raw


def envelopes(directories: Iterable[Path] = ()) -> Iterator[bytes]:
    """CMS, bare or taken out of messages."""
    for raw in files(directories):
        if raw[:1] == b"\x30":
            yield raw
            continue
        content = BytesContent(raw)
        for part in smime.take_inventory(content).parts:
            with smime.PartSource(content, part).open() as stream:
                yield stream.read()


def main() -> None:
    """Writes seeds into a directory, named by digest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["cms", "in-place", "inventory", "plaintext", "splice"])
    parser.add_argument("into", type=Path)
    parser.add_argument("directories", type=Path, nargs="*")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    make = envelopes if options.kind == "cms" else messages
    for raw in make(options.directories):
        (options.into / hashlib.sha256(raw).hexdigest()[:16]).write_bytes(raw)


if __name__ == "__main__":
    main()
