"""Collects the messages, numbers them by date, and writes them with their manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from making.envelopes import ID_DATA, Envelope
from making.identities import PASSPHRASE, Cast, Identity

FOLDERS = (
    "INBOX", "Sent", "Entwürfe", "Archive/2008", "Archive/2014", "Büro & Lager", "Projekt Umzug",
    "Leer",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One message and what the manifest says of it."""

    raw: bytes
    folder: str
    internal_date: datetime
    flags: tuple[str, ...]
    keywords: tuple[str, ...]
    states: tuple[str, str]
    note: str
    covers: tuple[str, ...]
    envelope: Envelope | None
    name_size: bool
    name_virtual_size: bool


@dataclass
class Box:
    """The mailbox while it is made."""

    entries: list[Entry] = field(default_factory=list)

    def add(
        self,
        when: str,
        raw: bytes,
        note: str,
        *covers: str,
        folder: str = "INBOX",
        flags: str = "seen",
        keywords: Sequence[str] = (),
        states: tuple[str, str] = ("encrypted", "readable"),
        envelope: Envelope | None = None,
        sizes: str = "S",
    ) -> None:
        """Takes a message.

        Args:
            when: internal date with its offset, ISO 8601.
            flags: names with spaces between.
            states: what a scan says without and with the key history.
            envelope: of the encrypted part, where there is one that is whole.
            sizes: which of the sizes S and W the file name shall carry.
        """
        if folder not in FOLDERS:
            raise ValueError(folder)
        tags = [*covers]
        if envelope is not None:
            tags = ["encrypted", envelope.algorithm, *envelope.covers, *covers]
            tags += [f"to-{name}" for name in envelope.recipients]
            tags += ["several-recipients"] * (len(envelope.recipients) > 1)
        self.entries.append(
            Entry(
                raw, folder, datetime.fromisoformat(when), tuple(flags.split()), tuple(keywords),
                states, note, tuple(dict.fromkeys(tags)), envelope, "S" in sizes, "W" in sizes,
            )
        )  # fmt: skip

    def write(self, directory: Path, cast: Cast) -> None:
        """``mail/`` and ``manifest.toml``, replacing what was there."""
        mail = directory / "mail"
        mail.mkdir(exist_ok=True)
        for old in mail.glob("*.eml"):
            old.unlink()
        lines = [_HEAD]
        lines += [f"[[folder]]\nname = {_string(name)}\n" for name in FOLDERS]
        lines += [_key_table(identity) for identity in cast]
        ordered = sorted(self.entries, key=lambda entry: entry.internal_date)
        for number, entry in enumerate(ordered, 1):
            name = f"mail/{number:04}.eml"
            (directory / name).write_bytes(entry.raw)
            lines.append(_message_table(name, entry))
        (directory / "manifest.toml").write_text("\n".join(lines), encoding="utf-8")


_HEAD = """\
# The sample mailbox: every message, and what must become of it. Written by make_sample.py.
format = 1
owner = "Head Office <owner@example.org>"
"""


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _strings(values: Sequence[str]) -> str:
    return f"[{', '.join(_string(value) for value in values)}]"


def _key_table(identity: Identity) -> str:
    certificate = identity.certificate
    encrypted = identity.role == "old"
    private = {"old": identity.file, "new": "new/owner-new.key"}.get(identity.role, "")
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return "\n".join(
        [
            "[[key]]",
            f"name = {_string(identity.name)}",
            f"role = {_string(identity.role)}",
            f"address = {_string(identity.address)}",
            f"file = {_string(f'keys/{identity.file}')}",
            f"private_key_file = {_string(f'keys/{private}' if private else '')}",
            f"passphrase = {_string(PASSPHRASE if encrypted else '')}",
            f"fingerprint = {_string(fingerprint)}",
            f"not_before = {certificate.not_valid_before_utc.isoformat()}",
            f"not_after = {certificate.not_valid_after_utc.isoformat()}",
            "",
        ]
    )


def _message_table(name: str, entry: Entry) -> str:
    lines = [
        "[[message]]",
        f"file = {_string(name)}",
        f"sha256 = {_string(hashlib.sha256(entry.raw).hexdigest())}",
        f"folder = {_string(entry.folder)}",
        f"flags = {_strings(entry.flags)}",
        f"keywords = {_strings(entry.keywords)}",
        f"internal_date = {entry.internal_date.isoformat()}",
        f"name_size = {str(entry.name_size).lower()}",
        f"name_virtual_size = {str(entry.name_virtual_size).lower()}",
        f"state_without_keys = {_string(entry.states[0])}",
        f"state_with_keys = {_string(entry.states[1])}",
    ]
    envelope = entry.envelope
    if envelope is not None:
        if entry.states[1] in {"readable", "review", "under-signature", "unsupported"}:
            lines.append(f"inner_sha256 = {_string(hashlib.sha256(envelope.inner).hexdigest())}")
        lines.append(f"algorithm = {_string(envelope.algorithm)}")
        lines.append(f"recipients = {_strings(envelope.recipients)}")
        lines += [f"content_type = {_string(envelope.content_type)}"] * (
            envelope.content_type != ID_DATA
        )
        lines += ["openssl = false"] * (not envelope.openssl)
    lines.append(f"covers = {_strings(entry.covers)}")
    lines.append(f"note = {_string(entry.note)}")
    return "\n".join(lines) + "\n"
