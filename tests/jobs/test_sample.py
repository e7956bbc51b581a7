"""Sectool is held to the manifest of the sample mailbox: a scan of it, and a whole move."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12

from sectool import jobs
from sectool.cli.words.render import as_json
from sectool.cms import Profile
from sectool.demo.sample import (
    SampleManifest,
    SampleMessage,
    folder_directory,
    load_manifest,
    sample_directory,
    unpack_maildir,
)
from sectool.keys import KeySpecification
from sectool.outcome import NOT_DONE, State
from sectool.summary import Summary
from tests.support import checker
from tests.support.checker import StoredMail
from tests.support.documents import parsed
from tests.support.mailboxes import openssl

SAMPLE = sample_directory()
MANIFEST = load_manifest(SAMPLE)
HISTORY = KeySpecification((SAMPLE / "keys/old",), SAMPLE / "keys/passphrase.txt", None)
NEW_KEY = checker.Key(SAMPLE / "keys/new/owner-new.pem", SAMPLE / "keys/new/owner-new.key")

MOVED = [one for one in MANIFEST.messages if one.state_with_keys is State.READABLE]
LEFT = [one for one in MANIFEST.messages if one.state_with_keys is not State.READABLE]
OPAQUE = [one for one in MANIFEST.messages if "sealed-opaque" in one.covers]
"""Encrypted to a key of the owner's, under a signature that has to be decoded first."""
ENVELOPED = [one for one in MANIFEST.messages if one.algorithm]

Expected = Callable[[SampleMessage], State]
BY_KEYS: Mapping[bool, Expected] = {
    False: lambda message: message.state_without_keys,
    True: lambda message: message.state_with_keys,
}


def covering(*words: str) -> set[str]:
    """Files of the messages that are an example of any of these kinds and are moved."""
    return {one.file for one in MOVED if not set(words).isdisjoint(one.covers)}


def scan(maildir: Path, *, with_keys: bool) -> dict[str, object]:
    spec = jobs.Scan(mailbox=str(maildir), keys=HISTORY if with_keys else None, workers=0)
    return as_json(jobs.run(spec))


def unpack_only(target: Path, messages: Iterable[SampleMessage]) -> Path:
    """The sample as a Maildir, without all other messages."""
    wanted = set(messages)
    for number, message in enumerate(unpack_maildir(SAMPLE, target).messages, 1):
        if message not in wanted:
            (path,) = target.rglob(f"*.M{number:06}P1.sample*")
            path.unlink()
    return target


# --- scan --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as it was before anything happened."""
    target = tmp_path_factory.mktemp("untouched") / "Maildir"
    unpack_maildir(SAMPLE, target)
    return target


@pytest.fixture(scope="module", params=[False, True], ids=["without-keys", "with-keys"])
def with_keys(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def document(untouched: Path, with_keys: bool) -> dict[str, object]:
    """What ``scan --json`` prints."""
    return scan(untouched, with_keys=with_keys)


STATES = sorted(
    {(keyed, expected(one)) for keyed, expected in BY_KEYS.items() for one in MANIFEST.messages}
)


@pytest.mark.parametrize(("keyed", "state"), STATES)
def test_each_message_is_in_the_state_of_the_manifest(
    tmp_path: Path, keyed: bool, state: State
) -> None:
    alike = [message for message in MANIFEST.messages if BY_KEYS[keyed](message) is state]
    found = scan(unpack_only(tmp_path / "Maildir", alike), with_keys=keyed)
    assert found["counts"] == {state.value: len(alike)}


def test_the_counts_of_a_scan_are_those_of_the_manifest(
    document: dict[str, object], with_keys: bool
) -> None:
    expected = Counter(BY_KEYS[with_keys](message).value for message in MANIFEST.messages)
    assert document["counts"] == expected
    assert document["messages"] == sum(expected.values())
    assert document["bytes"] == sum(
        (SAMPLE / message.file).stat().st_size for message in MANIFEST.messages
    )


def test_the_algorithms_of_a_scan_are_those_of_the_manifest(document: dict[str, object]) -> None:
    expected = Counter(message.algorithm for message in ENVELOPED)
    expected["aes-256-cbc"] += len(OPAQUE)
    assert document["content_encryption_algorithms"] == expected


def test_the_folders_of_a_scan_are_those_of_the_manifest(document: dict[str, object]) -> None:
    assert document["folders"] == Counter(message.folder for message in MANIFEST.messages)


def test_the_years_of_a_scan_follow_the_date_field_then_the_internal_date(
    document: dict[str, object],
) -> None:
    expected = Counter(year(message) for message in MANIFEST.messages)
    assert document["years"] == expected


def year(message: SampleMessage) -> str:
    raw = (SAMPLE / message.file).read_bytes()
    value = email.message_from_bytes(raw, policy=email.policy.compat32)["Date"]
    date = parsedate_to_datetime(value) if value else message.internal_date
    return str(date.year)


def test_the_keys_of_a_scan_are_the_recipients_of_the_manifest(
    document: dict[str, object], with_keys: bool
) -> None:
    expected: Counter[tuple[str, str, bool]] = Counter()
    for message in ENVELOPED:
        by_identifier = "subject-key-identifier" in message.covers
        for name in message.recipients:
            held = with_keys and MANIFEST.key(name).role == "old"
            expected[(*identifier(certificate(name), by_identifier), held)] += 1
    expected[(*identifier(certificate("owner-2011"), False), with_keys)] += len(OPAQUE)
    for message in MANIFEST.messages:
        if "truncated" in message.covers:
            for serial_number in named_in(SAMPLE / message.file):
                expected[serial_number, "", with_keys] += 1
    entries = document["keys"]
    assert isinstance(entries, list)
    found = {
        (entry["serial_number"], entry["subject_key_identifier"], entry["in_history"]): entry[
            "messages"
        ]
        for entry in entries
    }
    assert len(found) == len(entries)
    assert found == expected


def named_in(path: Path) -> set[str]:
    """Serial numbers of the owner's certificates that stand in what is left of an envelope."""
    lines = path.read_bytes().rpartition(b"base64\n")[2].split()
    text = b"".join(line for line in lines if b":" not in line and b";" not in line)
    der = base64.b64decode(text[: len(text) // 4 * 4])
    owners = [key.name for key in MANIFEST.keys if key.role == "old"]
    serial_numbers = {identifier(certificate(name), False)[0] for name in owners}
    return {one for one in serial_numbers if bytes.fromhex(one) in der}


def certificate(name: str) -> x509.Certificate:
    key = MANIFEST.key(name)
    data = (SAMPLE / key.file).read_bytes()
    if key.file.endswith(".p12"):
        loaded = pkcs12.load_pkcs12(data, key.passphrase.encode())
        held = [loaded.cert, *loaded.additional_certs]
        certificates = [one.certificate for one in held if one is not None]
    else:
        certificates = x509.load_pem_x509_certificates(data)
    (found,) = [
        one for one in certificates if one.fingerprint(hashes.SHA256()).hex() == key.fingerprint
    ]
    return found


def identifier(found: x509.Certificate, by_key_identifier: bool) -> tuple[str, str]:
    """Serial number and subject key identifier as the documents have them."""
    if by_key_identifier:
        extension = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return "", extension.value.digest.hex()
    octets = (found.serial_number.bit_length() + 7) // 8
    return found.serial_number.to_bytes(octets, "big").hex(), ""


def test_every_message_not_done_is_named_with_its_reason(
    document: dict[str, object], with_keys: bool
) -> None:
    expected = {
        number: BY_KEYS[with_keys](message).value
        for number, message in enumerate(MANIFEST.messages, 1)
        if BY_KEYS[with_keys](message) in NOT_DONE
    }
    entries = document["not_done"]
    assert isinstance(entries, list)
    found = {}
    for entry in entries:
        match = re.search(r"\.M(\d{6})P1\.sample", entry["ref"])
        assert match is not None
        found[int(match[1])] = entry["state"]
        assert entry["reason"]
        assert entry["folder"] == MANIFEST.messages[int(match[1]) - 1].folder
    assert found == expected
    assert len(found) == len(entries)


def test_a_scan_changes_nothing(untouched: Path, with_keys: bool) -> None:
    before = checker.census(untouched)
    directories = {path: path.stat().st_mtime_ns for path in untouched.rglob("*") if path.is_dir()}
    scan(untouched, with_keys=with_keys)
    assert checker.census(untouched) == before
    assert {path: path.stat().st_mtime_ns for path in directories} == directories


def test_the_command_prints_the_same_document_and_nothing_else(untouched: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sectool", "scan", untouched, "--json", "--workers", "2"),
            *("--keys", SAMPLE / "keys/old", "--passphrase-file", SAMPLE / "keys/passphrase.txt"),
        ],
        capture_output=True,
        check=True,
    )
    printed = parsed(done.stdout)
    expected = json.loads(json.dumps(scan(untouched, with_keys=True)))
    assert all("everybody may read" in one["message"] for one in printed["warnings"])
    printed["warnings"].clear()
    for one in (printed, expected):
        one["not_done"].sort(key=lambda entry: entry["ref"])
        one["keys"].sort(key=str)
        # Measured, not counted: these two differ between any two runs.
        for shortest, longest in one["preflight"].pop("seconds").values():
            assert 0 < shortest < longest
        assert one["preflight"].pop("space_free") > 0
    assert printed == expected


# --- a whole move --------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """The sample decrypted, moved and encrypted again, seen by the checker alone."""

    profile: Profile
    job: Path
    maildir: Path
    """Where the mailbox is now."""
    before: dict[str, StoredMail]
    """By the file of the manifest."""
    after: dict[str, StoredMail]
    files_before: dict[str, tuple[int, int, str]]
    files_after: dict[str, tuple[int, int, str]]
    decrypted: Summary
    encrypted: Summary

    def inner(self, message: SampleMessage) -> bytes:
        """What openssl finds in the one envelope of a message, with the new key."""
        (envelope,) = checker.envelopes(self.after[message.file].raw)
        found = checker.opened(envelope, NEW_KEY)
        assert found is not None, message.file
        return found


def by_file(maildir: Path, manifest: SampleManifest) -> dict[str, StoredMail]:
    """Every stored message by its file in the manifest: no two of a folder came at once."""
    places = {}
    for message in manifest.messages:
        directory = folder_directory(message.folder).removesuffix(".")
        places[directory, round(message.internal_date.timestamp() * 1e9)] = message.file
    assert len(places) == len(manifest.messages)
    mail = list(checker.stored_mail(maildir))
    found = {places[one.folder, one.mtime_ns]: one for one in mail}
    assert len(found) == len(mail)
    return found


@pytest.fixture(scope="module")
def old_key(tmp_path_factory: pytest.TempPathFactory) -> checker.Key:
    """The last of the old keys, without its passphrase."""
    path = SAMPLE / "keys/old/owner-2011.pem"
    private = tmp_path_factory.mktemp("old") / "owner-2011.key"
    openssl("pkey", "-in", path, "-passin", "pass:sample", "-out", private)
    return checker.Key(path, private)


@pytest.fixture(
    scope="module",
    params=[Profile.COMPATIBLE, Profile.MODERN],
    ids=lambda profile: profile.value,
)
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Round:
    directory = tmp_path_factory.mktemp("move")
    here, there, job = directory / "Maildir", directory / "elsewhere" / "box", directory / "job"
    unpack_maildir(SAMPLE, here)
    before, files_before = by_file(here, MANIFEST), checker.census(here)
    decrypted = jobs.run(jobs.Decrypt(mailbox=str(here), job=job, keys=HISTORY, workers=0))
    assert checker.census(here) == files_before
    there.parent.mkdir()
    shutil.move(here, there)
    spec = jobs.Encrypt(
        mailbox=str(there),
        job=job,
        new_certificates=(NEW_KEY.certificate,),
        profile=request.param,
        workers=0,
    )
    encrypted = jobs.run(spec)
    return Round(
        profile=request.param,
        job=job,
        maildir=there,
        before=before,
        after=by_file(there, MANIFEST),
        files_before=files_before,
        files_after=checker.census(there),
        decrypted=decrypted,
        encrypted=encrypted,
    )


def test_the_counts_of_a_move_are_those_of_the_manifest(moved: Round) -> None:
    expected = Counter(message.state_with_keys for message in MANIFEST.messages)
    readable = expected.pop(State.READABLE)
    assert +moved.decrypted.counts == {**expected, State.CHECKPOINTED: readable}
    assert +moved.encrypted.counts == {**expected, State.REENCRYPTED: readable}


def test_every_message_of_the_job_opens_with_the_new_key_to_the_same_bytes(moved: Round) -> None:
    same = [message for message in MOVED if "resealed" not in message.covers]
    assert len(same) == len(MOVED) - 2
    expected = {message.file: message.inner_sha256 for message in same}
    found = {one.file: hashlib.sha256(moved.inner(one)).hexdigest() for one in same}
    assert found == expected


def test_an_envelope_within_opens_with_the_new_key_to_what_the_old_one_opened(
    moved: Round, old_key: checker.Key
) -> None:
    for name in covering("resealed"):
        (before,) = checker.envelopes(moved.before[name].raw)
        (after,) = checker.envelopes(moved.after[name].raw)
        outer = checker.opened(before, old_key), checker.opened(after, NEW_KEY)
        assert None not in outer
        old, new = (checker.envelopes(plaintext or b"")[0] for plaintext in outer)
        assert checker.opened(new, old_key) is None
        assert checker.opened(new, NEW_KEY) == checker.opened(old, old_key) != None  # noqa: E711


def test_the_messages_that_need_an_old_key_are_those_of_the_manifest(moved: Round) -> None:
    covers = {"sealed", "needs-old-keys", "truncated"}
    needing = [one for one in MANIFEST.messages if covers & set(one.covers)]
    raw = [(SAMPLE / one.file).read_bytes() for one in needing]
    expected = {email.message_from_bytes(one)["Message-ID"] for one in raw}
    assert len(expected) == 6
    for summary in (moved.decrypted, moved.encrypted):
        assert {one.message_id for one in summary.needs_old_keys} == expected
        assert all(one.keys for one in summary.needs_old_keys)


def test_the_marks_of_integrity_are_those_of_the_manifest(moved: Round) -> None:
    opened = [one for one in MANIFEST.messages if one.inner_sha256]
    opened = [one for one in opened if one.state_with_keys is not State.REVIEW]
    expected = Counter(mark(one) for one in [*opened, *OPAQUE])
    for summary in (moved.decrypted, moved.encrypted):
        found: Counter[str] = Counter()
        for (integrity, signer), count in summary.integrity.items():
            found[integrity] += count
            assert bool(signer) == integrity.startswith("signed")
        assert found == expected


def mark(message: SampleMessage) -> str:
    covers = " ".join(message.covers)
    if "signed-unmatched" in covers:
        return "signed-unmatched"
    if re.search("signed-then-encrypted|content-not-data|triple-wrap", covers):
        return "signed"
    return "aead" if "gcm" in message.algorithm else "none"


def test_every_other_message_is_the_same_file_as_before(moved: Round) -> None:
    assert len(LEFT) == 27
    assert {one.file: moved.after[one.file] for one in LEFT} == {
        one.file: moved.before[one.file] for one in LEFT
    }


def test_no_old_key_is_needed_for_a_message_that_moved(moved: Round) -> None:
    serial = certificate("owner-new").serial_number
    found = {one.file: recipient_serials(described(moved, one)) for one in MOVED}
    assert found == {one.file: [serial] for one in MOVED}


def described(moved: Round, message: SampleMessage) -> str:
    """The envelope of a message as openssl prints it."""
    (envelope,) = checker.envelopes(moved.after[message.file].raw)
    return printed(envelope, moved.job.parent)


@cache
def printed(envelope: bytes, directory: Path) -> str:
    path = directory / "printed"
    path.write_bytes(envelope)
    done = openssl("cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", path)
    return done.decode("utf-8", "replace")


def recipient_serials(text: str) -> list[int]:
    return [int(number, 0) for number in re.findall(r"serialNumber: (\w+)", text)]


ALGORITHMS = {
    Profile.COMPATIBLE: ["pkcs7-envelopedData", "rsaEncryption", "aes-256-cbc"],
    Profile.MODERN: ["id-smime-ct-authEnvelopedData", "rsaesOaep", "aes-256-gcm"],
}
SHA256 = bytes.fromhex("0609608648016503040201")
HASHES = {Profile.COMPATIBLE: 0, Profile.MODERN: 2}
"""How often SHA-256 is named: as hashFunc and within maskGenFunc of OAEP."""


def test_every_envelope_is_as_the_profile_says(moved: Round) -> None:
    for message in MOVED:
        text = described(moved, message)
        missing = [word for word in ALGORITHMS[moved.profile] if f" {word} (" not in text]
        assert not missing, message.file
        (envelope,) = checker.envelopes(moved.after[message.file].raw)
        assert envelope[:512].count(SHA256) == HASHES[moved.profile], message.file


def test_a_scan_with_the_new_key_alone_reads_all_that_moved(moved: Round) -> None:
    keys = KeySpecification((NEW_KEY.certificate.parent,))
    spec = jobs.Scan(mailbox=str(moved.maildir), keys=keys, workers=0)
    counts = jobs.run(spec).counts
    # What has no header is only certain where the profile authenticates.
    unproven = covering("inner-without-header") if moved.profile is Profile.COMPATIBLE else set()
    assert counts[State.READABLE] == len(MOVED) - len(unproven)
    assert counts[State.REVIEW] == len(unproven)
    assert counts.total() == len(MANIFEST.messages)


def test_the_type_of_the_encrypted_content_is_kept(moved: Round) -> None:
    found = {}
    for message in MOVED:
        types = re.findall(r"contentType: .*?\(([0-9.]+)\)", described(moved, message))
        found[message.file] = types[1:]
    assert found == {message.file: [message.content_type] for message in MOVED}


def test_flags_keywords_internal_date_and_mode_are_kept(moved: Round) -> None:
    def marks(mail: Mapping[str, StoredMail]) -> dict[str, tuple[str, str, int, int]]:
        return {name: (one.folder, one.flags, one.mtime_ns, one.mode) for name, one in mail.items()}

    assert marks(moved.after) == marks(moved.before)


def test_the_keyword_letters_of_every_folder_mean_the_same_as_before(moved: Round) -> None:
    def tables(files: Mapping[str, tuple[int, int, str]]) -> dict[str, object]:
        return {name: entry for name, entry in files.items() if name.endswith("dovecot-keywords")}

    assert len(tables(moved.files_before)) == 3
    assert tables(moved.files_after) == tables(moved.files_before)


def test_every_folder_has_as_many_files_as_before_and_no_leftovers(moved: Round) -> None:
    def counted(files: Iterable[str]) -> Counter[str]:
        return Counter(os.path.dirname(name) for name in files)  # noqa: PTH120 - no path

    assert counted(moved.files_after) == counted(moved.files_before)


def test_a_size_in_a_new_file_name_is_right(moved: Round) -> None:
    for message in MOVED:
        mail = moved.after[message.file]
        sizes = {kind: int(size) for kind, size in re.findall(r",([SW])=(\d+)", mail.base_name)}
        assert sizes.get("S", len(mail.raw)) == len(mail.raw)
        assert "W" not in sizes


def test_every_other_header_line_is_kept_in_its_place(moved: Round) -> None:
    for message in MOVED:
        before = checker.header_without_content_fields(moved.before[message.file].raw)
        after = checker.header_without_content_fields(moved.after[message.file].raw)
        if "no-mime-version" in message.covers:
            after = tuple(line for line in after if not line.startswith(b"MIME-Version: 1.0"))
        assert after == before, message.file


def test_a_message_without_mime_version_gets_one(moved: Round) -> None:
    (name,) = covering("no-mime-version")
    header, _, _ = moved.after[name].raw.partition(b"\n\n")
    assert header.count(b"MIME-Version: 1.0") == 1


def test_the_line_ends_of_the_store_are_kept(moved: Round) -> None:
    crlf = covering("stored-crlf")
    assert len(crlf) == 2
    for message in MOVED:
        raw = moved.after[message.file].raw
        header = raw[: raw.index(b"\n\r\n" if message.file in crlf else b"\n\n")]
        expected = raw.count(b"\n") if message.file in crlf else 0
        assert raw.count(b"\r\n") == expected, message.file
        is_part = not {"nested-forward", "list-footer"}.isdisjoint(message.covers)
        assert is_part or b"Content-Type: application/pkcs7-mime" in header


def test_a_forwarded_message_is_changed_within_its_own_part_only(moved: Round) -> None:
    (name,) = covering("nested-forward")
    before, after = moved.before[name].raw, moved.after[name].raw
    # All up to the content fields of the inner message, and all after its body.
    start = before.index(b"Content-Type: application/pkcs7-mime")
    end = before.rindex(b"\n------=_Part_")
    kept = len(before) - end
    assert after[:start] == before[:start]
    assert after[-kept:] == before[end:]
    assert after[start:-kept] != before[start:end]
    (inner,) = (
        part
        for part in email.message_from_bytes(after).walk()
        if part.get_content_type() == "application/pkcs7-mime"
    )
    assert inner["Subject"] == "Forwarded inside"


# --- signatures ------------------------------------------------------------------------------

SIGNED_INSIDE = covering(
    "signed-then-encrypted-clear", "signed-then-encrypted-opaque", "content-not-data"
)
ID_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


def element(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes(4, "big")
    return bytes((tag, 0x84)) + length + content


@pytest.mark.parametrize("name", sorted(SIGNED_INSIDE))
def test_a_signature_inside_still_verifies(moved: Round, tmp_path: Path, name: str) -> None:
    (message,) = [one for one in MOVED if one.file == name]
    inner = moved.inner(message)
    form = "SMIME"
    if "content-not-data" in message.covers:
        # A bare SignedData; the command wants the ContentInfo around it.
        inner, form = element(0x30, ID_SIGNED_DATA + element(0xA0, inner)), "DER"
    assert verifies(tmp_path, inner, form) == 0
    broken = inner.replace(b"the", b"teh", 1) if form == "DER" else inner[:-40] + inner[-36:]
    assert verifies(tmp_path, broken, form) != 0


def verifies(directory: Path, signed: bytes, form: str) -> int:
    """The exit code of ``openssl cms -verify`` under the authorities of the sample."""
    authorities = directory / "authorities.pem"
    parts = (path.read_bytes() for path in sorted((SAMPLE / "keys/ca").glob("*.pem")))
    authorities.write_bytes(b"".join(parts))
    source = directory / "signed"
    source.write_bytes(signed)
    done = subprocess.run(
        [
            *("openssl", "cms", "-verify", "-inform", form, "-in", source, "-out", os.devnull),
            *("-CAfile", authorities),
        ],
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_there_are_signatures_of_both_kinds_inside() -> None:
    assert len(covering("signed-then-encrypted-clear")) == 3
    assert len(covering("signed-then-encrypted-opaque")) == 2
    assert len(covering("content-not-data")) == 1


def test_every_signature_not_encrypted_still_verifies(moved: Round, tmp_path: Path) -> None:
    signed = [one for one in MANIFEST.messages if one.state_with_keys is State.SIGNED]
    assert len(signed) == 5
    for message in signed:
        assert verifies(tmp_path, moved.after[message.file].raw, "SMIME") == 0, message.file


# --- checkpoints -----------------------------------------------------------------------------

CHECKPOINT_LINE = re.compile(
    rb"(?:\A|\n)X-Sectool-Checkpoint: v=1; inner-offset=([0-9]+); inner-sha256=([0-9a-f]{64});"
    rb" content-type=([0-9.]+)\r?\n"
)
CHECKPOINTED = [one for one in MANIFEST.messages if one in MOVED or "sealed" in one.covers]
WITHIN = ("Twice wrapped", "Old quotation", "Three layers", "Under seal")
"""Subjects of what the layers within hold, each of which has a checkpoint, too."""


@dataclass(frozen=True)
class ParsedCheckpoint:
    """One checkpoint file, read by its X-Sectool-Checkpoint line alone."""

    header: bytes
    inner: bytes
    inner_sha256: str
    content_type: str


def parse_checkpoint(path: Path) -> ParsedCheckpoint:
    raw = path.read_bytes()
    (match,) = CHECKPOINT_LINE.finditer(raw)
    inner = raw[int(match[1]) :]
    # The line is the last of the header; a blank line may follow it.
    assert raw[match.end() : int(match[1])] in {b"", b"\n", b"\r\n"}
    header = raw[: match.start() + 1]
    return ParsedCheckpoint(header, inner, match[2].decode(), match[3].decode())


def checkpoint_of(moved: Round, message: SampleMessage) -> ParsedCheckpoint:
    """The checkpoint that the content digest of the old envelope names."""
    (envelope,) = (
        one for one in checker.envelopes(moved.before[message.file].raw) if is_envelope(one)
    )
    digest = hashlib.sha256(envelope).hexdigest()
    return parse_checkpoint(moved.job / "checkpoints" / f"{digest}.eml")


def is_envelope(cms: bytes) -> bool:
    return ID_SIGNED_DATA not in cms[:24]


def test_every_checkpoint_holds_the_plaintext_without_the_log(moved: Round) -> None:
    for message in CHECKPOINTED:
        checkpoint = checkpoint_of(moved, message)
        digest = hashlib.sha256(checkpoint.inner).hexdigest()
        assert digest == checkpoint.inner_sha256 == message.inner_sha256, message.file
        assert checkpoint.content_type == message.content_type, message.file


def test_every_checkpoint_shows_the_outer_header_to_a_person(moved: Round) -> None:
    for message in CHECKPOINTED:
        if "to-oneself" in message.covers:
            continue  # one checkpoint for two messages, with the header of one of them
        raw = moved.before[message.file].raw
        expected = b"".join(checker.header_without_content_fields(raw))
        assert checkpoint_of(moved, message).header == expected, message.file


def test_there_is_one_checkpoint_for_each_ciphertext_and_none_besides(moved: Round) -> None:
    names = {
        hashlib.sha256(envelope).hexdigest()
        for message in CHECKPOINTED
        for envelope in checker.envelopes(moved.before[message.file].raw)
        if is_envelope(envelope)
    }
    assert len(names) == len(CHECKPOINTED) - 1  # mail to oneself
    files = [path for path in (moved.job / "checkpoints").rglob("*") if path.is_file()]
    within = {path for path in files if path.stem not in names}
    assert {path.name for path in files} - {path.name for path in within} == {
        f"{name}.eml" for name in names
    }
    letters = [parse_checkpoint(path).inner.decode() for path in within]
    found = sorted(subject for subject in WITHIN for one in letters if f'about "{subject}"' in one)
    assert found == sorted(WITHIN)
    assert len(letters) == len(WITHIN)


def test_nobody_else_can_read_what_lies_in_the_job_directory(moved: Round) -> None:
    for path in [moved.job, *moved.job.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_job_log_holds_neither_subjects_nor_addresses_nor_plaintext(moved: Round) -> None:
    log = b"".join(path.read_bytes() for path in moved.job.glob("job.db*"))
    words = [b"Forwarded inside", b"owner@example.org", b"Kind regards", b"train leaves"]
    assert [word for word in words if word in log] == []
