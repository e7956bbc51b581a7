"""An independent look at a mailbox: shares no code with sectool.

Reads Maildirs as plain files, takes messages apart with the standard library
and opens them with the openssl command.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CONTENT_FIELDS = {
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"content-description",
    b"content-id",
}


@dataclass(frozen=True)
class Key:
    """A private key and its certificate, as PEM files."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True)
class StoredMail:
    """One file of a Maildir."""

    folder: str
    base_name: str
    flags: str
    mtime_ns: int
    mode: int
    raw: bytes


def stored_mail(maildir: Path) -> Iterator[StoredMail]:
    """Every message file in cur and new of every folder."""
    for directory in [maildir, *sorted(p for p in maildir.iterdir() if p.name[:1] == ".")]:
        for state in ("cur", "new"):
            for path in sorted((directory / state).glob("*")):
                base_name, _, flags = path.name.partition(":2,")
                status = path.stat()
                yield StoredMail(
                    directory.name if directory != maildir else "",
                    base_name,
                    flags,
                    status.st_mtime_ns,
                    status.st_mode & 0o7777,
                    path.read_bytes(),
                )


def header_without_content_fields(raw: bytes) -> tuple[bytes, ...]:
    """Lines of the header block but those of fields that describe the encrypted body."""
    lines: list[bytes] = []
    keeping = True
    for line in raw.splitlines(keepends=True):
        if not line.strip(b"\r\n"):
            break
        if line[:1] not in b" \t":
            keeping = line.partition(b":")[0].strip().lower() not in CONTENT_FIELDS
        if keeping:
            lines.append(line)
    return tuple(lines)


def envelopes(raw: bytes) -> list[bytes]:
    """DER or BER of every application/pkcs7-mime leaf."""
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    found = []
    for part in message.walk():
        if part.is_multipart():
            continue
        body = part.get_payload(decode=True)
        if isinstance(body, bytes) and body[:1] == b"\x30":
            found.append(body)
    return found


@lru_cache(maxsize=4096)
def opened(envelope: bytes, key: Key) -> bytes | None:
    """What openssl makes of an envelope with a key; None where it opens nothing."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "in"), Path(directory, "out")
        source.write_bytes(envelope)
        done = subprocess.run(
            [
                *("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", source),
                *("-inkey", key.private_key, "-recip", key.certificate, "-out", target),
            ],
            capture_output=True,
            check=False,
        )
        return target.read_bytes() if done.returncode == 0 else None


def inner_digests(raw: bytes, keys: Sequence[Key]) -> tuple[str, ...]:
    """SHA-256 of what is inside each envelope of a message; empty for what opens with no key."""
    digests = []
    for envelope in envelopes(raw):
        inner = next((text for key in keys if (text := opened(envelope, key)) is not None), None)
        digests.append("" if inner is None else hashlib.sha256(inner).hexdigest())
    return tuple(digests)


def meaning(mail: StoredMail, keys: Sequence[Key]) -> tuple[object, ...]:
    """What a message is to its owner, whatever its key and the name of its file."""
    digests = inner_digests(mail.raw, keys)
    if digests and all(digests):
        what: object = (header_without_content_fields(mail.raw), digests)
    else:
        what = hashlib.sha256(mail.raw).hexdigest()
    return (mail.folder, mail.flags, mail.mtime_ns, mail.mode, what)


def meanings(maildir: Path, keys: Sequence[Key]) -> Counter[tuple[object, ...]]:
    """The multiset of all messages of a mailbox by what they mean to their owner."""
    return Counter(meaning(mail, keys) for mail in stored_mail(maildir))


def census(maildir: Path) -> dict[str, tuple[int, int, str]]:
    """Everything a second run must not change: names, sizes, times and bytes of all files."""
    return {
        str(path.relative_to(maildir)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(maildir.rglob("*"))
        if path.is_file()
    }
