"""Mail this project did not make, stored as messages: opened or told apart, never a crash.

See ../shared/corpus/README.md for what the files are and where they come from.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification, load_key_history, people_of
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, fill

HEADER = (
    b"From: a@example.org\nTo: b@example.org\nSubject: corpus\nMIME-Version: 1.0\n"
    b'Content-Type: application/pkcs7-mime; name="smime.p7m"\n'
    b"Content-Transfer-Encoding: base64\n\n"
)

NO_HEADER = "opened, but not certainly mail: the content has no MIME header"
ENCRYPTED_DATA = "CMS encrypted-data is not supported"
BY_KEK = "no shared secret for any recipient: shared key 6b65796964"
MISFILED_KEM = "key encryption {} is not supported"

EXPECTED: dict[str, tuple[State, str]] = {
    "rfc4134/3.1.bin": (State.CLEAR, ""),  # id-data
    "rfc4134/3.2.bin": (State.CLEAR, ""),
    "rfc4134/4.1.bin": (State.SIGNED, ""),
    "rfc4134/4.2.bin": (State.SIGNED, ""),
    "rfc4134/4.3.bin": (State.SIGNED, ""),
    "rfc4134/4.4.bin": (State.SIGNED, ""),
    "rfc4134/4.5.bin": (State.SIGNED, ""),
    "rfc4134/4.6.bin": (State.SIGNED, ""),
    "rfc4134/4.7.bin": (State.SIGNED, ""),
    "rfc4134/4.8.eml": (State.SIGNED, ""),
    "rfc4134/4.9.eml": (State.SIGNED, ""),
    "rfc4134/4.10.bin": (State.SIGNED, ""),
    "rfc4134/4.11.bin": (State.CLEAR, ""),  # certificates only
    # Opened to "This is some sample content.": no header, and nothing proves the key.
    "rfc4134/5.1.bin": (State.REVIEW, NO_HEADER),
    "rfc4134/5.2.bin": (State.REVIEW, NO_HEADER),
    "rfc4134/5.3.eml": (State.REVIEW, NO_HEADER),
    "rfc4134/6.0.bin": (State.CLEAR, ""),  # digested, not encrypted
    "rfc4134/7.1.bin": (State.UNSUPPORTED, ENCRYPTED_DATA),
    "rfc4134/7.2.bin": (State.UNSUPPORTED, ENCRYPTED_DATA),
    "rfc9216-cms/authEnvelopedForBobChaCha20Poly1305.p7m": (State.READABLE, ""),
    "rfc9216-cms/authEnvelopedForDanaX25519HKDF.p7m": (State.READABLE, ""),
    "rfc9216-cms/encryptedForBobAndDana.p7m": (State.READABLE, ""),
    "rfc9216-cms/encryptedForBobRSAOaep.p7m": (State.READABLE, ""),
    "rfc9216-cms/encryptedKekri.p7m": (State.MISSING_KEY, BY_KEK),
    "rfc9216-cms/signedByAliceAndCarlosNoCerts.p7m": (State.SIGNED, ""),
    "rfc9216-cms/signedByAliceRSA.p7m": (State.SIGNED, ""),
    "rfc9216-cms/signedByAliceRSAPSS.p7m": (State.SIGNED, ""),
    "rfc9216-cms/signedByCarlosDetached.p7m": (State.SIGNED, ""),
    "rfc9216-cms/signedByCarlosEd25519.p7m": (State.SIGNED, ""),
}
for _bits, _oid in (("768", "2.16.840.1.101.3.4.4.2"), ("1024", "2.16.840.1.101.3.4.4.3")):
    _name = f"ml-kem-{_bits}"
    _path = f"ml-kem/cht/{_name}-{_oid}_kemri"
    _kdf = "id-alg-hkdf-with-sha512"
    EXPECTED[f"{_path}_{_kdf}.der"] = (State.READABLE, "")
    # These carry the ML-KEM identifier in a KeyTransRecipientInfo, whatever their names.
    EXPECTED[f"{_path}_auth_{_kdf}.der"] = (State.UNSUPPORTED, MISFILED_KEM.format(_name))
    for _variant in ("kemri", "kemri_auth"):
        for _ukm in ("", "_ukm"):
            _path = f"ml-kem/redhound/mlkem{_bits}-{_oid}_{_variant}"
            _path += f"_id-alg-hkdf-with-sha256{_ukm}.der"
            EXPECTED[_path] = (State.READABLE, "")

KEY_SUFFIXES = (".pri", ".cer", ".crt", ".pem", "_priv.der", "_ee.der", "ta.der")
FOLDERS = ("rfc4134", "rfc9216-cms", "ml-kem/cht", "ml-kem/redhound")
SAMPLE = b"This is some sample content."
READABLE = [name for name, (state, _) in EXPECTED.items() if state is State.READABLE]


@pytest.fixture(scope="session")
def corpus() -> Path:
    path = Path(__file__).parents[3] / "shared" / "corpus"
    if not path.is_dir():
        reason = "../shared/corpus is not here"
        if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def key_directory(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All keys and certificates of the corpus, in a directory for each of its folders."""
    directory = tmp_path_factory.mktemp("keys")
    for folder in FOLDERS:
        target = directory / folder
        target.mkdir(parents=True)
        for path in files(corpus / folder):
            if path.name.endswith(KEY_SUFFIXES):
                shutil.copy(path, target)
    return directory


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def stored(path: Path) -> bytes:
    """The message as a mail store has it: whole where it is one, else with the CMS as its body."""
    raw = path.read_bytes()
    return raw if path.suffix == ".eml" else wrapped(raw)


def wrapped(raw: bytes) -> bytes:
    return HEADER + base64.encodebytes(raw)


def scan(maildir: Path, messages: list[bytes], keys: Path) -> Summary:
    """What a scan of these messages says."""
    names = [f"cur/13{number:08}.M1P1.host:2,S" for number in range(len(messages))]
    fill(maildir, [Mail("", name, raw) for name, raw in zip(names, messages, strict=True)])
    specification = KeySpecification((keys,))
    spec = jobs.Scan(mailbox=str(maildir), keys=specification, workers=0)
    summary = jobs.run(spec)
    assert summary.messages == summary.counts.total() == len(messages)
    return summary


@pytest.mark.parametrize("name", EXPECTED)
def test_a_message_of_the_corpus_is_opened_or_told_apart(
    corpus: Path, key_directory: Path, tmp_path: Path, name: str
) -> None:
    path = corpus / name
    summary = scan(tmp_path, [stored(path)], key_directory / path.parent.relative_to(corpus))
    (state,) = summary.counts
    reason = summary.not_done[0].reason if summary.not_done else ""
    told, _, digest = reason.partition("; to take it all the same: --accept ")
    assert (state, told) == EXPECTED[name]
    assert (len(digest) == 64) is (state is State.REVIEW)


UNDER_THE_LABEL = {
    "rfc4134/4.8.eml": State.CLEAR,
    "rfc4134/4.9.eml": State.CLEAR,
    "rfc4134/5.3.eml": State.UNSUPPORTED,
}
"""Whole mail that is no CMS: it is what it holds, whatever it is called."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_no_cms_is_malformed_under_the_label_of_one(
    corpus: Path, key_directory: Path, tmp_path: Path, folder: str
) -> None:
    others = [
        path
        for path in files(corpus / folder)
        if f"{folder}/{path.name}" not in EXPECTED or path.suffix == ".eml"
    ]
    messages = [wrapped(path.read_bytes()) for path in others]
    summary = scan(tmp_path, messages, key_directory / folder)
    states = [UNDER_THE_LABEL.get(f"{folder}/{path.name}", State.MALFORMED) for path in others]
    assert summary.counts == Counter(states)
    start = "labelled as S/MIME, but this is not a CMS"
    malformed = [entry for entry in summary.not_done if entry.state is State.MALFORMED]
    assert [entry for entry in malformed if not entry.reason.startswith(start)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_truncated_message_of_the_corpus_is_never_opened(
    corpus: Path, key_directory: Path, tmp_path: Path, folder: str
) -> None:
    whole = [
        path.read_bytes()
        for path in files(corpus / folder)
        if f"{folder}/{path.name}" in EXPECTED and path.suffix != ".eml"
    ]
    messages = [
        wrapped(raw[:size])
        for raw in whole
        for size in (1, 20, len(raw) // 3, len(raw) // 2, len(raw) - 20, len(raw) - 1)
    ]
    counts = scan(tmp_path, messages, key_directory / folder).counts
    assert counts[State.READABLE] == counts[State.REVIEW] == counts[State.FAILED] == 0
    assert counts[State.MALFORMED] > len(messages) / 2


@pytest.fixture
def mailbox(corpus: Path, tmp_path: Path) -> dict[str, Path]:
    """Every file of the corpus as a message of one Maildir, by name in the corpus."""
    names = [f"{folder}/{path.name}" for folder in FOLDERS for path in files(corpus / folder)]
    place = {name: f"cur/13{number:08}.M1P1.host:2,S" for number, name in enumerate(names)}
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", place[name], stored(corpus / name)) for name in names])
    return {name: maildir / place[name] for name in names}


def test_a_move_of_the_corpus_takes_what_is_readable_and_leaves_the_rest(
    corpus: Path, key_directory: Path, mailbox: dict[str, Path], keys: Keys, tmp_path: Path
) -> None:
    before = {name: path.read_bytes() for name, path in mailbox.items()}
    location, job = str(tmp_path / "Maildir"), tmp_path / "job"
    expected = Counter(EXPECTED.get(name, (State.MALFORMED,))[0] for name in mailbox)
    del expected[State.READABLE]
    history = KeySpecification((key_directory,))
    # All of them as if they were one person's.
    people = people_of(load_key_history(history))
    decrypt = jobs.Decrypt(
        mailbox=location,
        job=job,
        keys=history,
        owners=tuple(address for person in people for address in person.addresses),
        workers=0,
        max_failures=100,
    )
    assert +jobs.run(decrypt).counts == {**expected, State.CHECKPOINTED: len(READABLE)}
    encrypt = jobs.Encrypt(
        mailbox=location,
        job=job,
        new_certificates=(keys.new.certificate,),
        owners=("alice@example.org",),
        workers=0,
    )
    assert +jobs.run(encrypt).counts == {**expected, State.REENCRYPTED: len(READABLE)}
    left = {name: path.read_bytes() for name, path in mailbox.items() if path.exists()}
    assert left == {name: raw for name, raw in before.items() if name not in READABLE}
    bob = checker.Key(
        corpus / "rfc9216-cms/lamps-bob.encrypt.crt",
        corpus / "rfc9216-cms/lamps-bob.decrypt.p8.pem",
    )
    # OpenSSL 3.0 opens only RSA recipients among these; what the others hold is known.
    by_openssl = [name for name in READABLE if name.startswith("rfc9216-cms/encrypted")]
    contents = [content_of(corpus / name) for name in READABLE if name not in by_openssl]
    wanted = digests([before[name] for name in by_openssl], bob)
    wanted = sorted([*wanted, *(hashlib.sha256(content).hexdigest() for content in contents)])
    new = [mail.raw for mail in checker.stored_mail(tmp_path / "Maildir")]
    assert sorted(digests([raw for raw in new if raw not in before.values()], keys.new)) == wanted


def content_of(path: Path) -> bytes:
    """What a message of the corpus holds, as its makers say."""
    expected = path.with_name("expected_plaintext.txt")
    return expected.read_bytes() if expected.exists() else SAMPLE


def digests(messages: list[bytes], key: checker.Key) -> list[str]:
    """SHA-256 of what openssl finds in each message."""
    result = []
    for raw in messages:
        (envelope,) = checker.envelopes(raw)
        inner = checker.opened(envelope, key)
        assert inner is not None
        result.append(hashlib.sha256(inner).hexdigest())
    return result
