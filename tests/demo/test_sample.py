"""The sample mailbox: it is what its manifest says, and unpacks as a mail server would have it."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import sectool
from sectool.demo.sample import (
    SampleManifest,
    SampleMessage,
    folder_directory,
    load_manifest,
    sample_directory,
    unpack_maildir,
)
from sectool.errors import RunError, SectoolError, UsageError

MANIFEST = load_manifest(sample_directory())
WITH_INNER = [message for message in MANIFEST.messages if message.inner_sha256]
ENCRYPTED = [message for message in MANIFEST.messages if message.algorithm]

BY_FILE = attrgetter("file")
each = pytest.mark.parametrize


# --- manifest and files --------------------------------------------------------------


def test_every_file_is_listed_once(sample: Path, manifest: SampleManifest) -> None:
    listed = [message.file for message in manifest.messages]
    assert sorted(listed) == sorted(f"mail/{path.name}" for path in (sample / "mail").iterdir())
    assert len(set(listed)) == len(listed)


@each("message", MANIFEST.messages, ids=BY_FILE)
def test_every_file_has_the_bytes_of_the_manifest(sample: Path, message: SampleMessage) -> None:
    raw = (sample / message.file).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == message.sha256


def test_the_sample_is_small_enough_to_travel_in_a_wheel(sample: Path) -> None:
    files = (path for path in sample.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < 4_500_000


def test_the_messages_span_more_than_fifteen_years(manifest: SampleManifest) -> None:
    years = {message.internal_date.year for message in manifest.messages}
    assert len(manifest.messages) >= 64
    assert max(years) - min(years) >= 15


def test_nothing_that_made_the_sample_knows_sectool(sample: Path) -> None:
    for path in (sample / "make_sample.py", *(sample / "making").glob("*.py")):
        assert not re.search(r"^\s*(import|from) sectool", path.read_text("utf-8"), re.MULTILINE)


COVERAGE = {
    "clear-text": 3, "clear-alternative": 2, "clear-attachment": 2, "header-only": 1,
    "clear-signed": 3, "opaque-signed": 2, "encrypted": 64, "by-openssl": 40, "by-hand": 25,
    "by-builder": 4, "signed-then-encrypted-clear": 3, "signed-then-encrypted-opaque": 2,
    "several-recipients": 8, "three-recipients": 2, "ber": 5, "des-ede3-cbc": 5,
    "aes-128-cbc": 4, "aes-192-cbc": 2, "aes-256-cbc": 30, "aes-128-gcm": 2, "aes-192-gcm": 1,
    "aes-256-gcm": 4, "rsa-v1.5": 40, "rsa-oaep-sha1": 3, "rsa-oaep-sha256": 5,
    "subject-key-identifier": 5, "to-owner-2005": 5, "to-owner-2008": 5, "to-owner-2011": 40,
    "stranger-only": 3, "stranger-and-owner": 2, "truncated": 3, "large": 1, "8-bit-header": 2,
    "odd-header": 5, "duplicated-received": 1, "content-fields-first": 1, "no-message-id": 2,
    "no-date": 1, "no-mime-version": 1, "to-oneself": 2, "x-pkcs7-mime": 2, "octet-stream": 1,
    "no-smime-type": 1, "wrong-smime-type": 1, "base64-width": 2, "base64-no-padding": 1,
    "base64-blank-lines": 1, "binary-encoding": 1, "stored-crlf": 3, "pgp-mime": 1,
    "compressed-file": 1, "content-not-data": 1, "nested-forward": 1, "outlook-like": 1,
    "mailing-list": 2, "protected-header": 3, "attributes": 1, "inner-lf": 1,
    "inner-without-header": 1, "gcm-length-left-out": 2, "sealed": 1, "review": 2,
    "tag-altered": 1, "envelope-in-envelope": 1, "nested-in-envelope": 1, "triple-wrap": 1,
    "sealed-opaque": 1, "list-footer": 1, "resealed": 2, "needs-old-keys": 2,
    "signed-unmatched": 1,
}  # fmt: skip


@each(("kind", "least"), COVERAGE.items())
def test_every_kind_of_mail_is_there(manifest: SampleManifest, kind: str, least: int) -> None:
    counts = Counter(kind for message in manifest.messages for kind in message.covers)
    assert counts[kind] >= least


def test_every_combination_of_seen_answered_and_flagged_is_there(manifest: SampleManifest) -> None:
    three = {"seen", "answered", "flagged"}
    combinations = {frozenset(three & set(message.flags)) for message in manifest.messages}
    assert len(combinations) == 8


def test_every_folder_but_one_holds_mail(manifest: SampleManifest) -> None:
    used = {message.folder for message in manifest.messages}
    assert set(manifest.folders) - used == {"Leer"}


# --- keys ----------------------------------------------------------------------------


@each("name", [key.name for key in MANIFEST.keys if Path(key.file).suffix != ".p12"])
def test_a_certificate_is_the_one_of_the_manifest(
    sample: Path, manifest: SampleManifest, name: str
) -> None:
    key = manifest.key(name)
    (certificate,) = x509.load_pem_x509_certificates((sample / key.file).read_bytes())
    assert certificate.fingerprint(hashes.SHA256()).hex() == key.fingerprint
    assert certificate.not_valid_before_utc == key.not_before
    assert certificate.not_valid_after_utc == key.not_after


def test_the_private_keys_that_were_kept_open_with_their_passphrases(
    owner_keys: dict[str, Any],
) -> None:
    sizes = {name: key.private_key.key_size for name, key in owner_keys.items()}
    expected = {"owner-2005": 1024, "owner-2008": 2048, "owner-2011": 2048, "owner-new": 3072}
    assert sizes == expected


def test_the_history_directory_holds_the_old_keys_and_nothing_else(
    sample: Path, manifest: SampleManifest
) -> None:
    files = {f"keys/old/{path.name}" for path in (sample / "keys/old").iterdir()}
    assert files == {key.file for key in manifest.keys if key.role == "old"}


def test_both_passphrase_files_know_the_passphrase_of_every_old_key(
    sample: Path, manifest: SampleManifest
) -> None:
    single = (sample / "keys/passphrase.txt").read_text().strip()
    rows = (sample / "keys/passphrases.csv").read_text().splitlines()
    for key in (key for key in manifest.keys if key.role == "old"):
        assert key.passphrase == single
        assert f"{Path(key.file).name},{single}" in rows


@each("name", [key.name for key in MANIFEST.keys if key.role != "old"])
def test_certificates_that_should_be_valid_are_so_for_a_thousand_years(
    manifest: SampleManifest, name: str
) -> None:
    assert manifest.key(name).not_before < datetime.now(UTC)
    assert manifest.key(name).not_after.year >= 3000


# --- what is encrypted ---------------------------------------------------------------


@each("message", [message for message in WITH_INNER if message.openssl], ids=BY_FILE)
def test_openssl_reads_the_inner_bytes_of_the_manifest(
    sample: Path,
    openssl: Callable[..., Any],
    owner_keys: dict[str, Any],
    encrypted_parts: Callable[[bytes], list[bytes]],
    message: SampleMessage,
) -> None:
    (cms,) = encrypted_parts((sample / message.file).read_bytes())
    owners = [name for name in message.recipients if name in owner_keys]
    assert owners
    for name in owners:
        key = owner_keys[name]
        files = ["-recip", key.certificate_file, "-inkey", key.private_key_file]
        done = openssl("cms", "-decrypt", "-binary", "-inform", "DER", *files, data=cms)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(done.stdout).hexdigest() == message.inner_sha256


@each("message", [message for message in WITH_INNER if not message.openssl], ids=BY_FILE)
def test_the_inner_bytes_that_openssl_does_not_read_are_those_of_the_manifest(
    sample: Path,
    owner_keys: dict[str, Any],
    encrypted_parts: Callable[[bytes], list[bytes]],
    open_gcm: Callable[..., bytes],
    message: SampleMessage,
) -> None:
    (cms,) = encrypted_parts((sample / message.file).read_bytes())
    (name,) = message.recipients
    inner = open_gcm(cms, owner_keys[name].private_key)
    assert hashlib.sha256(inner).hexdigest() == message.inner_sha256


@each("message", ENCRYPTED, ids=BY_FILE)
def test_openssl_sees_the_parameters_of_the_manifest(
    sample: Path,
    openssl: Callable[..., Any],
    encrypted_parts: Callable[[bytes], list[bytes]],
    message: SampleMessage,
) -> None:
    (cms,) = encrypted_parts((sample / message.file).read_bytes())
    done = openssl("cms", "-cmsout", "-print", "-noout", "-inform", "DER", data=cms)
    shown = done.stdout.decode("utf-8", "replace")
    inner_type = re.search(r"contentType: .*\(([0-9.]+)\)\s+contentEncryptionAlgorithm", shown)
    assert f"algorithm: {message.algorithm} (" in shown
    assert inner_type is not None
    assert inner_type.group(1) == message.content_type
    assert shown.count("d.ktri:") == len(message.recipients)
    assert ("rsaesOaep" in shown) == any("oaep" in kind for kind in message.covers)
    by_identifier = "subject-key-identifier" in message.covers
    assert shown.count("d.subjectKeyIdentifier") == len(message.recipients) * by_identifier
    assert (cms[1] == 0x80) == ("ber" in message.covers)


@each("message", [m for m in MANIFEST.messages if "truncated" in m.covers], ids=BY_FILE)
def test_openssl_cannot_parse_a_truncated_message(
    sample: Path, openssl: Callable[..., Any], message: SampleMessage
) -> None:
    done = openssl("cms", "-cmsout", "-noout", "-inform", "SMIME", "-in", sample / message.file)
    assert done.returncode != 0


def test_openssl_refuses_the_altered_message(
    sample: Path,
    manifest: SampleManifest,
    openssl: Callable[..., Any],
    owner_keys: dict[str, Any],
    encrypted_parts: Callable[[bytes], list[bytes]],
) -> None:
    (message,) = (entry for entry in manifest.messages if "tag-altered" in entry.covers)
    (cms,) = encrypted_parts((sample / message.file).read_bytes())
    key = owner_keys["owner-2011"]
    files = ["-recip", key.certificate_file, "-inkey", key.private_key_file]
    assert openssl("cms", "-decrypt", "-inform", "DER", *files, data=cms).returncode != 0


@each("message", [m for m in MANIFEST.messages if m.state_with_keys == "signed"], ids=BY_FILE)
def test_openssl_verifies_a_signed_message(
    sample: Path, openssl: Callable[..., Any], message: SampleMessage
) -> None:
    done = openssl("cms", "-verify", "-noverify", "-in", sample / message.file)
    assert done.returncode == 0, done.stderr


@each("message", [m for m in MANIFEST.messages if not m.algorithm], ids=BY_FILE)
def test_what_is_not_said_to_be_encrypted_has_no_whole_envelope(
    sample: Path, encrypted_parts: Callable[[bytes], list[bytes]], message: SampleMessage
) -> None:
    found = encrypted_parts((sample / message.file).read_bytes())
    assert bool(found) == ("truncated" in message.covers)


def test_mail_to_oneself_is_one_ciphertext_under_two_headers(
    sample: Path, manifest: SampleManifest, encrypted_parts: Callable[[bytes], list[bytes]]
) -> None:
    pair = [entry for entry in manifest.messages if "to-oneself" in entry.covers]
    stored = [(sample / entry.file).read_bytes() for entry in pair]
    assert {entry.folder for entry in pair} == {"Sent", "INBOX"}
    assert encrypted_parts(stored[0]) == encrypted_parts(stored[1])
    assert stored[0].partition(b"\n\n")[0] != stored[1].partition(b"\n\n")[0]


# --- unpacking -----------------------------------------------------------------------


def message_path(maildir: Path, number: int, message: SampleMessage) -> Path:
    place = maildir / folder_directory(message.folder)
    (path,) = place.glob(f"*/*.M{number:06}P1.sample*")
    return path


NUMBERED = [pytest.param(*pair, id=pair[1].file) for pair in enumerate(MANIFEST.messages, 1)]


@each(("number", "message"), NUMBERED)
def test_an_unpacked_message_keeps_bytes_and_date(
    sample: Path, maildir: Path, number: int, message: SampleMessage
) -> None:
    path = message_path(maildir, number, message)
    assert path.read_bytes() == (sample / message.file).read_bytes()
    assert path.stat().st_mtime == message.internal_date.timestamp()


@each(("number", "message"), NUMBERED)
def test_an_unpacked_message_has_flags_and_keywords_in_its_name(
    maildir: Path, number: int, message: SampleMessage
) -> None:
    path = message_path(maildir, number, message)
    _, separator, letters = path.name.partition(":2,")
    keyword_file = path.parent.parent / "dovecot-keywords"
    table = keyword_file.read_text().splitlines() if message.keywords else []
    known = {chr(ord("a") + int(line.split()[0])): line.split()[1] for line in table}
    words = ["draft", "flagged", "passed", "answered", "seen", "deleted"]
    names = dict(zip("DFPRST", words, strict=True))
    assert letters == "".join(sorted(letters))
    assert {names[letter] for letter in letters if letter in names} == set(message.flags)
    assert {known[letter] for letter in letters if letter not in names} == set(message.keywords)
    assert path.parent.name == ("cur" if letters else "new")
    assert bool(separator) == bool(letters)


@each(("number", "message"), NUMBERED)
def test_an_unpacked_message_has_right_sizes_in_its_name_or_none(
    maildir: Path, number: int, message: SampleMessage
) -> None:
    path = message_path(maildir, number, message)
    raw = path.read_bytes()
    expected = {"S": len(raw)} if message.name_size else {}
    if message.name_virtual_size:
        expected["W"] = len(re.sub(rb"\r?\n", b"\r\n", raw))
    found = {kind: int(size) for kind, size in re.findall(r",([SW])=(\d+)", path.name)}
    assert found == expected


def test_every_folder_is_a_maildir_plus_plus_folder(maildir: Path) -> None:
    directories = {path.name for path in maildir.iterdir() if path.is_dir()}
    assert directories == {
        "cur", "new", "tmp", ".Sent", ".Entw&APw-rfe", ".Archive.2008", ".Archive.2014",
        ".B&APw-ro &- Lager", ".Projekt Umzug", ".Leer",
    }  # fmt: skip
    for path in maildir.glob(".*"):
        assert {"cur", "new", "tmp", "maildirfolder"} <= {entry.name for entry in path.iterdir()}


def test_the_empty_folder_is_there_and_empty(maildir: Path) -> None:
    files = [path for path in (maildir / ".Leer").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["maildirfolder"]


def test_the_keyword_file_is_as_dovecot_writes_it(maildir: Path) -> None:
    text = (maildir / ".Archive.2014/dovecot-keywords").read_text()
    assert text == "0 $Forwarded\n1 projekt\n"


def test_no_two_messages_share_a_base_name(maildir: Path, manifest: SampleManifest) -> None:
    names = [path.name.partition(":2,")[0] for path in maildir.rglob("*.sample*")]
    assert len(set(names)) == len(names) == len(manifest.messages)


def test_unpacking_twice_gives_the_same_names(sample: Path, maildir: Path, tmp_path: Path) -> None:
    unpack_maildir(sample, tmp_path)
    again = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert again == {str(path.relative_to(maildir)) for path in maildir.rglob("*")}


def test_a_target_that_holds_something_is_refused_and_left_alone(
    sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("mine")
    with pytest.raises(UsageError, match="not an empty directory"):
        unpack_maildir(sample, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_target_that_is_a_file_is_refused(sample: Path, tmp_path: Path) -> None:
    target = tmp_path / "letter"
    target.write_text("mine")
    with pytest.raises(UsageError):
        unpack_maildir(sample, target)
    assert target.read_text() == "mine"


def test_a_message_whose_line_ends_were_converted_is_refused(sample: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sample"
    shutil.copytree(sample, copy)
    victim = copy / MANIFEST.messages[0].file
    victim.write_bytes(victim.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(RunError, match="not as its manifest says"):
        unpack_maildir(copy, tmp_path / "Maildir")


@each(
    ("folder", "directory"),
    [
        ("INBOX", "."),
        ("Sent", ".Sent"),
        ("Archive/2014", ".Archive.2014"),
        ("Entwürfe", ".Entw&APw-rfe"),
        ("R&D", ".R&-D"),
        ("台北/日本語", ".&U,BTFw-.&ZeVnLIqe-"),  # the example of RFC 3501 section 5.1.3
    ],
)
def test_a_folder_is_named_in_modified_utf7(folder: str, directory: str) -> None:
    assert folder_directory(folder) == directory


# --- a manifest that is none ---------------------------------------------------------

GOOD_MESSAGE = """
[[message]]
file = "mail/0001.eml"
sha256 = ""
folder = "INBOX"
flags = []
keywords = []
internal_date = 2012-03-04T05:06:07+01:00
name_size = true
name_virtual_size = false
state_without_keys = "clear"
state_with_keys = "clear"
"""
INBOX = '[[folder]]\nname = "INBOX"\n'
GOOD = f'format = 1\nowner = "x"\n{INBOX}{GOOD_MESSAGE}'


def write_manifest(directory: Path, text: str) -> Path:
    (directory / "manifest.toml").write_text(text, encoding="utf-8")
    return directory


def test_the_smallest_manifest_is_read(tmp_path: Path) -> None:
    (message,) = load_manifest(write_manifest(tmp_path, GOOD)).messages
    assert message.content_type == "1.2.840.113549.1.7.1"
    assert message.openssl is True


@each(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", "format = ["),
        ("format = 1\n", ""),
        ('owner = "x"', "owner = 1"),
        ("mail/0001.eml", "../0001.eml"),
        ("mail/0001.eml", "/etc/0001.eml"),
        ('folder = "INBOX"', 'folder = "Elsewhere"'),
        (INBOX, f'{INBOX}[[folder]]\nname = ".."\n'),
        (INBOX, f'{INBOX}[[folder]]\nname = "a//b"\n'),
        (INBOX, f'{INBOX}[[folder]]\nname = "a\\u0000b"\n'),
        ("flags = []", 'flags = ["burnt"]'),
        ("flags = []", "flags = [1]"),
        ("keywords = []", 'keywords = "one"'),
        ("+01:00", ""),
        ("2012-03-04T05:06:07+01:00", '"yesterday"'),
        ("name_size = true", "name_size = 1"),
        ('state_with_keys = "clear"', 'state_with_keys = "lovely"'),
        (INBOX, "folder = 3\n"),
    ],
)
def test_what_is_no_manifest_is_an_error_of_ours(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(SectoolError):
        load_manifest(write_manifest(tmp_path, GOOD.replace(old, new, 1)))


def test_a_manifest_that_is_not_text_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError):
        load_manifest(tmp_path)


def test_a_directory_without_manifest_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        load_manifest(tmp_path)


# --- finding it ----------------------------------------------------------------------


def test_the_sample_is_found_from_an_editable_install(
    sample: Path, tmp_path: Path, find_from: Callable[[Path], str]
) -> None:
    checkout = Path(sectool.__file__).resolve().parent.parent
    (tmp_path / "_editable_sectool.pth").write_text(f"{checkout}\n")
    assert find_from(tmp_path) == str(sample)


def test_the_sample_is_found_in_an_installed_wheel(
    package_copy: Path, find_from: Callable[[Path], str]
) -> None:
    inside = package_copy / "sectool" / "sample_mailbox"
    inside.mkdir()
    (inside / "manifest.toml").write_text(GOOD)
    assert find_from(package_copy) == str(inside)


def test_a_package_without_the_sample_says_how_to_get_it(
    package_copy: Path, find_from: Callable[[Path], str]
) -> None:
    assert find_from(package_copy).startswith(
        "the sample mailbox is not installed | install sectool"
    )
