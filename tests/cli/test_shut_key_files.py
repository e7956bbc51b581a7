"""A key file that stays shut: 12 where mail misses a key, a warning where none does."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.forge import make_holder

Fixture = Any
STORE = Path(__file__).parents[1] / "cases" / "keystore-words" / "k" / "ks.bks"
SHUT = ("--keys", str(STORE))


@pytest.fixture
def mailbox(sample: Fixture, tmp_path: Path) -> Path:
    """Ten messages, one of which misses a key."""
    return Path(shutil.copytree(sample.small, tmp_path / "Maildir"))


def commands(sample: Fixture, tmp_path: Path) -> dict[str, tuple[object, ...]]:
    job = ("--job", tmp_path / "job")
    return {
        "scan": (),
        "scan --check": ("--check",),
        "decrypt": job,
        "decrypt --dry-run": ("--dry-run",),
        "rewrap": (*job, "--to", sample.new),
        "rewrap --dry-run": (*job, "--to", sample.new, "--dry-run"),
    }


@pytest.mark.parametrize(
    "name",
    ["scan", "scan --check", "decrypt", "decrypt --dry-run", "rewrap", "rewrap --dry-run"],
)
def test_a_run_names_the_files_that_stay_shut_while_mail_misses_a_key(
    name: str, run: Fixture, sample: Fixture, mailbox: Path, tmp_path: Path
) -> None:
    options = commands(sample, tmp_path)[name]
    words = (name.partition(" ")[0], mailbox, *sample.history, "--workers=0", *options)
    without = run(*words)
    assert without.code == (0 if name == "scan" else 3)
    answer = run(*words, *SHUT)
    assert answer.code == (0 if name == "scan" else 12)
    assert "a key is missing for 1 message, and these could not be opened:" in answer.out
    assert "keytool -importkeystore" in answer.out
    (entry,) = run(*words, *SHUT, "--json").document["shut_key_files"]
    assert entry.keys() == {"file", "reason", "hint"}
    assert entry["file"] == str(STORE)


def test_an_old_key_that_stays_shut_is_not_passed_over_in_silence(
    run: Fixture, sample: Fixture, mailbox: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    run("decrypt", mailbox, *sample.history, "--workers=0", "--job", job)
    # The other files are those of --keys, with their passphrase.
    words = ("verify", job, "--retire", *sample.history[1:], "--workers=0")
    assert run(*words).code == 3
    answer = run(*words, "--retire", STORE)
    assert answer.code == 12
    assert "nothing is said of old keys in these, which could not be opened:" in answer.out
    (entry,) = run(*words, "--retire", STORE, "--json").document["shut_key_files"]
    assert entry["file"] == str(STORE)


def test_messages_that_a_person_knows_of_miss_no_key(
    run: Fixture, sample: Fixture, mailbox: Path, tmp_path: Path
) -> None:
    words = ("decrypt", mailbox, *sample.history, *SHUT, "--workers=0", "--job", tmp_path / "job")
    document = run(*words, "--json").document
    known = tmp_path / "known"
    missing = [each for each in document["not_done"] if each["state"] == "missing-key"]
    known.write_text("".join(f"{each['identity']}\n" for each in missing), encoding="utf-8")
    answer = run(*words, "--acknowledge", known, "--json")
    assert (answer.code, "shut_key_files" in answer.document) == (0, False)


def test_a_key_that_is_no_key_of_mail_keeps_the_exit_code(
    run: Fixture, sample: Fixture, mailbox: Path, tmp_path: Path
) -> None:
    putty = tmp_path / "a.ppk"
    putty.write_bytes(b"PuTTY-User-Key-File-3: ssh-rsa\r\n")
    words = ("decrypt", mailbox, *sample.history, "--keys", putty, "--workers=0", "--dry-run")
    answer = run(*words)
    assert answer.code == 3
    assert "PuTTY" in answer.err


def test_a_passphrase_command_opens_and_its_words_to_the_person_are_passed_on(
    run_in_fork: Fixture, sample: Fixture
) -> None:
    passphrase = (sample.keys / "passphrase.txt").read_text(encoding="utf-8").partition("\n")[0]
    code = f"import sys; print('touch the key', file=sys.stderr); print({passphrase!r})"
    command = shlex.join([sys.executable, "-c", code])
    answer = run_in_fork("keys", sample.keys / "old", "--passphrase-command", command, "-q")
    assert (answer.code, answer.err) == (0, "touch the key\n")
    assert passphrase not in answer.out


def test_no_warning_of_a_library_reaches_the_terminal(
    run_process: Fixture, mailbox: Path, tmp_path: Path
) -> None:
    person = make_holder("p-256", "Old")
    serial = person.certificate.serial_number
    positive = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    der = person.certificate.public_bytes(Encoding.DER)
    assert der.count(positive) == 1
    negative = der.replace(positive, b"\x80" + positive[1:])
    with pytest.warns(UserWarning, match="serial number"):
        x509.load_der_x509_certificate(negative)
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "odd.cer").write_bytes(negative)
    (keys / "odd.key").write_bytes(
        person.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    for words in (("keys", keys), ("scan", mailbox, "--keys", keys, "--new-keys", keys)):
        answer = run_process(*words)
        assert answer.code == 0
        assert "Warning: " not in answer.err
