"""Finds the sample mailbox, reads its manifest, and unpacks it as a Maildir++.

The sample is plain files and a ``manifest.toml``, since neither git nor a
wheel keeps times, empty folders, or names with ``:2,``. Knows nothing of
keys, CMS or jobs; what it writes is demonstration data, not somebody's mail.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import sectool
from sectool.durable import explained
from sectool.errors import RunError, UsageError
from sectool.outcome import State
from sectool.values import dataclass

_Entry = TypeVar("_Entry")

FORMAT = 1
"""Of ``manifest.toml``."""

_ID_DATA = "1.2.840.113549.1.7.1"
_FLAG_LETTERS = {
    "draft": "D",
    "flagged": "F",
    "passed": "P",
    "answered": "R",
    "seen": "S",
    "deleted": "T",
}
_MAXIMUM_FOLDER_KEYWORDS = 26
"""Dovecot has the letters a to z for the keywords of one folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMessage:
    """One message of the sample, and what must become of it."""

    file: str
    """Path below the sample's directory, ``mail/0007.eml``."""
    sha256: str
    """Of the file, lower-case hexadecimal."""
    folder: str
    """With ``/`` between levels; ``INBOX`` is the inbox."""
    flags: tuple[str, ...]
    """Lower case without the backslash, as ``message.Flags.system``."""
    keywords: tuple[str, ...]
    internal_date: datetime
    """When the store received it; always aware."""
    name_size: bool
    """Whether the Maildir name carries ``S=``, the size in bytes."""
    name_virtual_size: bool
    """Whether it carries ``W=``, the size with CRLF at every line end."""
    state_without_keys: State
    """What a scan without keys says."""
    state_with_keys: State
    """What a scan with the owner's key history says."""
    inner_sha256: str = ""
    """Of the exact bytes that were encrypted; empty where none can be had."""
    content_type: str = _ID_DATA
    """``encryptedContentInfo.contentType``, dotted; id-data where nothing is encrypted."""
    algorithm: str = ""
    """Content-encryption algorithm, such as ``aes-256-cbc``; empty where nothing is encrypted."""
    recipients: tuple[str, ...]
    """Names of keys, in no order."""
    openssl: bool = True
    """Whether the openssl command can open it, given the key."""
    covers: tuple[str, ...]
    """The kinds of mail it is an example of."""
    note: str = ""
    """What is special about it, one line."""


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One certificate of the sample, and where its private key lies if it was kept."""

    name: str
    role: str
    """``old``, ``new``, ``stranger``, ``sender`` or ``ca``."""
    address: str
    file: str
    """The certificate, alone or with its key; path below the sample's directory."""
    private_key_file: str
    """Empty: the private key was thrown away."""
    passphrase: str
    """Of the private key file; empty: it has none."""
    fingerprint: str
    """SHA-256 of the certificate, lower-case hexadecimal."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class SampleManifest:
    """Everything ``manifest.toml`` says."""

    owner: str
    folders: tuple[str, ...]
    """Every folder, empty ones too."""
    keys: tuple[SampleKey, ...]
    messages: tuple[SampleMessage, ...]

    def key(self, name: str) -> SampleKey:
        """The key called ``name``; ``KeyError`` if there is none."""
        for key in self.keys:
            if key.name == name:
                return key
        raise KeyError(name)


# --- finding and reading -----------------------------------------------------------


def sample_directory() -> Path:
    """Where the sample mailbox lies: in the installed package, or beside it in a checkout.

    Raises:
        RunError: it was not installed.
    """
    package = Path(sectool.__file__).resolve().parent
    for directory in (package / "sample_mailbox", package.parent / "sample_mailbox"):
        if (directory / "manifest.toml").is_file():
            return directory
    raise RunError(
        "the sample mailbox is not installed",
        hint="install sectool from its wheel, or run it from a checkout of its sources",
    )


def load_manifest(directory: Path) -> SampleManifest:
    """Reads ``manifest.toml``.

    Raises:
        RunError: it cannot be read, or is not a manifest of this format.
    """
    path = directory / "manifest.toml"
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not TOML") from error
    if table.get("format") != FORMAT:
        raise RunError(f"{path} is not of format {FORMAT}")
    try:
        return _manifest(table)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not a manifest: {error}") from error


def _manifest(table: Mapping[str, object]) -> SampleManifest:
    manifest = SampleManifest(
        owner=str(_value(table.get("owner"), "owner", str)),
        folders=tuple(
            str(_value(one.get("name"), "name", str)) for one in _tables(table, "folder")
        ),
        keys=tuple(_read(SampleKey, entry) for entry in _tables(table, "key")),
        messages=tuple(_read(SampleMessage, entry) for entry in _tables(table, "message")),
    )
    for folder in manifest.folders:
        _check_folder(folder)
    for message in manifest.messages:
        _check_message(message, manifest.folders)
    return manifest


def _check_message(message: SampleMessage, folders: Collection[str]) -> None:
    if not re.fullmatch(r"mail/[0-9]{4,9}\.eml", message.file):
        raise ValueError("a message file is not called mail/NNNN.eml")
    if unknown := set(message.flags) - set(_FLAG_LETTERS):
        raise ValueError(f"{message.file} has an unknown flag {min(unknown)}")
    if message.folder not in folders:
        raise ValueError(f"{message.file} lies in no folder of the manifest")


def _read(kind: type[_Entry], table: Mapping[str, object]) -> _Entry:
    """An entry of the manifest: each field has the value of its name, or its default."""
    kinds = get_type_hints(kind)
    known = {one.name: one.default for one in fields(kind)}  # type: ignore[arg-type]  # dataclasses
    return kind(**{name: _value(table.get(name, known[name]), name, kinds[name]) for name in known})


def _value(value: object, name: str, kind: Any) -> object:
    if kind == tuple[str, ...]:
        values = [] if value is MISSING else value
        if isinstance(values, tuple | list) and all(isinstance(one, str) for one in values):
            return tuple(values)
        raise TypeError(f"{name} is not a list of strings")
    if not isinstance(value, str if kind is State else kind):
        raise TypeError(f"{name} is missing or not {kind.__name__}")
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise ValueError(f"{name} has no offset")
    return State(value) if kind is State else value


def _tables(table: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    values = table.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError(f"{name} is not a list of tables")
    return values


def _check_folder(name: str) -> None:
    for level in name.split("/"):
        # A dot separates levels in a Maildir++ name.
        if not level or re.search(r"[.\x00-\x1f\x7f]", level):
            raise ValueError(f"folder {name!r} cannot be named in a Maildir++")


# --- unpacking ---------------------------------------------------------------------


def unpack_maildir(directory: Path, target: Path) -> SampleManifest:
    """Makes a Maildir++ of the sample, with its folders, flags, keywords and times.

    The names are the same every time. Mail without flags and keywords goes to
    ``new``, all other to ``cur``.

    Args:
        directory: where the sample lies.
        target: must not exist, or be an empty directory.

    Returns:
        The manifest it was made from, in the order of the numbers in the names.

    Raises:
        UsageError: there is something at ``target``.
        RunError: the sample is damaged, or ``target`` cannot be written
            (``NoSpace`` where the disk is full).
    """
    manifest = load_manifest(directory)
    with explained("unpack the sample mailbox"):
        if _is_occupied(target):
            raise UsageError(
                f"{target} is not an empty directory",
                hint="name a directory that does not exist yet",
            )
        for folder in manifest.folders:
            _make_folder(target / folder_directory(folder), inbox=folder == "INBOX")
        _write_messages(directory, target, manifest)
    return manifest


def _is_occupied(target: Path) -> bool:
    if target.is_symlink() or not target.exists():
        return target.is_symlink()
    return not target.is_dir() or any(target.iterdir())


def _make_folder(path: Path, *, inbox: bool) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=inbox)
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(mode=0o700)
    if not inbox:
        (path / "maildirfolder").touch(mode=0o600)


def _write_messages(directory: Path, target: Path, manifest: SampleManifest) -> None:
    numbered = sorted(enumerate(manifest.messages, 1), key=lambda pair: pair[1].folder)
    for folder, pairs in groupby(numbered, key=lambda pair: pair[1].folder):
        place = target / folder_directory(folder)
        messages = list(pairs)
        letters = _keyword_letters(message for _, message in messages)
        if letters:
            lines = (f"{number} {keyword}\n" for number, keyword in enumerate(letters))
            (place / "dovecot-keywords").write_text("".join(lines), encoding="utf-8")
        for number, message in messages:
            raw = _read_message(directory, message)
            path = place / _maildir_name(number, message, raw, letters)
            path.write_bytes(raw)
            path.chmod(0o600)
            seconds = message.internal_date.timestamp()
            os.utime(path, (seconds, seconds))


def _keyword_letters(messages: Iterable[SampleMessage]) -> dict[str, str]:
    """The letter of each keyword of one folder, in the order of first use."""
    keywords = dict.fromkeys(keyword for message in messages for keyword in message.keywords)
    if len(keywords) > _MAXIMUM_FOLDER_KEYWORDS:
        raise RunError("the sample mailbox has too many keywords in one folder")
    return {keyword: chr(ord("a") + number) for number, keyword in enumerate(keywords)}


def _read_message(directory: Path, message: SampleMessage) -> bytes:
    raw = (directory / message.file).read_bytes()
    if hashlib.sha256(raw).hexdigest() != message.sha256:
        raise RunError(
            f"{message.file} of the sample mailbox is not as its manifest says",
            hint="check it out again; git must not convert its line ends",
        )
    return raw


def _maildir_name(
    number: int, message: SampleMessage, raw: bytes, letters: Mapping[str, str]
) -> str:
    name = f"{int(message.internal_date.timestamp())}.M{number:06}P1.sample"
    if message.name_size:
        name += f",S={len(raw)}"
    if message.name_virtual_size:
        bare = raw.count(b"\n") - raw.count(b"\r\n")
        name += f",W={len(raw) + bare}"
    system = (_FLAG_LETTERS[flag] for flag in message.flags)
    flags = "".join(sorted({*system, *(letters[keyword] for keyword in message.keywords)}))
    return f"cur/{name}:2,{flags}" if flags else f"new/{name}"


def folder_directory(folder: str) -> str:
    """The directory of a folder below the Maildir, ``.Archive.2014``; ``.`` for the inbox."""
    if folder == "INBOX":
        return "."
    return "." + ".".join(_modified_utf7(level) for level in folder.split("/"))


def _modified_utf7(text: str) -> str:
    """RFC 3501 section 5.1.3."""
    return re.sub(r"&|[^ -~]+", _shifted, text)


def _shifted(match: re.Match[str]) -> str:
    run = match.group()
    if run == "&":
        return "&-"
    encoded = base64.b64encode(run.encode("utf-16-be")).decode().rstrip("=")
    return f"&{encoded.replace('/', ',')}-"
