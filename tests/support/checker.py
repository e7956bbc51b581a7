"""An independent look at a mailbox: shares no code with sectool.

Reads Maildirs as plain files and the stores of one file (``one_file``) as tables,
takes messages apart with the standard library and opens them with OpenSSL's own.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from tests.support import libcrypto, mbox_files

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


FLAGS = {
    "D": "draft",
    "F": "flagged",
    "P": "passed",
    "R": "answered",
    "S": "seen",
    "T": "deleted",
}
"""Words of the letters that a Maildir has."""

KINDS = ("maildirlike", "mboxlike", "emllike", "imaplike")
"""Of the stores of one file, by their ``PRAGMA user_version``."""


@dataclass(frozen=True)
class StoredMail:
    """One message that mail programs see."""

    folder: str
    """As a Maildir++ names it."""
    base_name: str
    flags: str
    """Letters of a Maildir."""
    mtime_ns: int
    mode: int
    raw: bytes
    """Of a store that gives other line ends to what it is given: with LF."""

    @property
    def date(self) -> str:
        """When the store received it, in ISO 8601 with offset."""
        return (_EPOCH + timedelta(microseconds=self.mtime_ns // 1000)).isoformat()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored_mail(mailbox: Path) -> Iterator[StoredMail]:
    """Every message of every folder."""
    if is_mbox(mailbox):
        yield from _of_mbox(mailbox)
    elif mailbox.is_file():
        yield from _of_one_file(mailbox)
    elif any(mailbox.rglob("cur")):
        yield from _of_maildir(mailbox)
    else:
        yield from _of_eml(mailbox)


def is_mbox(mailbox: Path) -> bool:
    """Whether it is an mbox file, or a tree of them."""
    if mailbox.is_file():
        with mailbox.open("rb") as file:
            return file.read(5) in {b"From ", b""}
    return not any(path.name == "cur" or path.suffix == ".eml" for path in mailbox.rglob("*"))


def _of_mbox(mailbox: Path) -> Iterator[StoredMail]:
    letters = {word: letter for letter, word in FLAGS.items()}
    for folder, one in mbox_files.stored_in(mailbox):
        yield StoredMail(
            "" if folder == "INBOX" else f".{folder}",
            one.key,
            "".join(sorted(letters[word] for word in one.flags)),
            (one.date - _EPOCH) // timedelta(microseconds=1) * 1000,
            0,
            one.content,
        )


def _of_one_file(path: Path) -> Iterator[StoredMail]:
    with closing(sqlite3.connect(path)) as store:
        (kind,) = store.execute("PRAGMA user_version").fetchone()
        rows = store.execute(
            "SELECT folder, key, flags, date, raw FROM message WHERE NOT beside ORDER BY number"
        ).fetchall()
    letters = {word: letter for letter, word in FLAGS.items()}
    for folder, key, flags, date, raw in rows:
        yield StoredMail(
            "" if folder == "INBOX" else f".{folder}",
            key,
            "".join(sorted(letters[word] for word in flags.split())),
            (datetime.fromisoformat(date) - _EPOCH) // timedelta(microseconds=1) * 1000,
            0,
            raw.replace(b"\r\n", b"\n") if KINDS[kind] == "imaplike" else raw,
        )


def _of_maildir(maildir: Path) -> Iterator[StoredMail]:
    for directory in sorted(path.parent for path in maildir.rglob("cur")):
        for state in ("cur", "new"):
            for path in sorted((directory / state).glob("*")):
                base_name, _, flags = path.name.partition(":2,")
                yield _of_file(path, _folder(directory, maildir), base_name, flags)


def _of_eml(tree: Path) -> Iterator[StoredMail]:
    for path in sorted(tree.rglob("*")):
        if path.suffix.lower() == ".eml" and not path.name.startswith("."):
            yield _of_file(path, _folder(path.parent, tree), path.name, "")


def _folder(directory: Path, root: Path) -> str:
    """As a Maildir++ names it, whose inbox is the root."""
    name = ".".join(directory.relative_to(root).parts)
    return "" if name in {"", "INBOX"} else f".{name.removeprefix('.')}"


def _of_file(path: Path, folder: str, base_name: str, flags: str) -> StoredMail:
    status = path.stat()
    mode = status.st_mode & 0o7777
    return StoredMail(folder, base_name, flags, status.st_mtime_ns, mode, path.read_bytes())


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
    return libcrypto.decrypted(envelope, key.private_key, key.certificate)


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


def meanings(mailbox: Path, keys: Sequence[Key]) -> Counter[tuple[object, ...]]:
    """The multiset of all messages of a mailbox by what they mean to their owner."""
    return Counter(meaning(mail, keys) for mail in stored_mail(mailbox))


def waiting(mailbox: Path) -> int:
    """How many copies lie where no mail program sees them."""
    if is_mbox(mailbox):
        return len(mbox_files.waiting_in(mailbox))
    if not mailbox.is_file():
        paths = [*mailbox.glob("**/tmp/*"), *mailbox.rglob(".[0-9]*")]
        return sum(1 for path in paths if path.is_file())
    with closing(sqlite3.connect(mailbox)) as store:
        (count,) = store.execute("SELECT count(*) FROM message WHERE beside").fetchone()
    return int(count)


def census(mailbox: Path) -> dict[str, tuple[int, int, str]]:
    """Everything a second run must not change: names, sizes, times and bytes of all files."""
    if mailbox.is_file() and not is_mbox(mailbox):
        with closing(sqlite3.connect(mailbox)) as store:
            rows = store.execute("SELECT * FROM message ORDER BY number").fetchall()
        return {str(row[0]): (0, 0, repr(row)) for row in rows}
    return {
        str(path.relative_to(mailbox)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in ([mailbox] if mailbox.is_file() else sorted(mailbox.rglob("*")))
        if path.is_file() and ".sectool" not in path.parent.name and path.suffix != ".lock"
    }
