"""decrypt --seal-to: nobody reads the checkpoints but who holds the transport key."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Unpack

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from sectool import jobs
from sectool.cli.app import run_app
from sectool.errors import CertificateUnusable, PassphraseError, UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.progress import NoProgress
from sectool.retirement import Answer
from sectool.summary import Summary
from tests.support import checker, softhsm
from tests.support.documents import parsed
from tests.support.forge import make_holder
from tests.support.mailboxes import (
    INNER,
    NO_AUTHORITY,
    Keys,
    Mail,
    encrypted,
    fill,
    make_key,
    openssl,
)
from tests.support.peers import peer_missing
from tests.support.specifications import Fields, Place, Specify, fitting

PLAINTEXT = b"this is message"


def fingerprint(certificate: Path) -> str:
    text = openssl("x509", "-in", certificate, "-noout", "-fingerprint", "-sha256").decode()
    return text.strip().partition("=")[2].replace(":", "").lower()


@pytest.fixture
def seal(specify: Specify, keys: Keys) -> Specify:
    """Makes the specification of a run that seals to the transport key, or opens with it."""

    def make(operation: str, mailbox: Place, /, **changes: Unpack[Fields]) -> Any:
        sealing: Fields = {"seal_keys": KeySpecification((keys.transport.private_key,))}
        if operation == "decrypt":
            sealing = {"seal_to": (keys.transport.certificate,)}
        return specify(operation, mailbox, **fitting(operation, sealing, changes))

    return make


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job"


def checkpoints(job: Path) -> list[Path]:
    return sorted(path for path in (job / "checkpoints").iterdir() if path.is_file())


def contents(job: Path) -> tuple[dict[str, tuple[int, int, str]], Summary]:
    """The checkpoints of a job, and what its log says, however often it was opened."""
    return checker.census(job / "checkpoints"), jobs.status(job)


def holds_plaintext(directory: Path) -> list[Path]:
    """Files with something of what was encrypted."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if PLAINTEXT in path.read_bytes()]


# --- writing -------------------------------------------------------------------------------


def test_no_plaintext_lies_in_the_job(maildir: Path, seal: Specify, job: Path) -> None:
    summary = jobs.run(seal("decrypt", maildir))
    assert summary.counts[State.CHECKPOINTED] == 5
    assert {path.suffix for path in checkpoints(job)} == {".p7m"}
    assert holds_plaintext(job) == []


def test_openssl_and_the_transport_key_are_enough_without_the_log(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    (job / "job.db").unlink()
    found = set()
    for path in checkpoints(job):
        text = checker.opened(path.read_bytes(), keys.transport)
        assert text is not None
        line = re.search(
            rb"^X-Sectool-Checkpoint: v=1; inner-offset=(\d+); inner-sha256=(\w+);"
            rb" content-type=1.2.840.113549.1.7.1$",
            text,
            re.MULTILINE,
        )
        assert line is not None
        assert b"Received: from a.example.org" in text[: line.start()]
        inner = text[int(line[1]) :]
        assert hashlib.sha256(inner).hexdigest() == line[2].decode()
        found.add(inner)
    assert found == {INNER % number for number in (1, 2, 3, 4)}


def test_worker_processes_seal_as_well(maildir: Path, seal: Specify, job: Path, keys: Keys) -> None:
    jobs.run(seal("decrypt", maildir, workers=2))
    assert holds_plaintext(job) == []
    summary = jobs.run(seal("encrypt", maildir, workers=2))
    assert (summary.counts[State.REENCRYPTED], summary.failure_code) == (5, 0)


def test_each_of_several_transport_keys_is_enough(
    maildir: Path, seal: Specify, keys: Keys, tmp_path: Path
) -> None:
    other = make_key(tmp_path, "other")
    jobs.run(seal("decrypt", maildir, seal_to=(keys.transport.certificate, other.certificate)))
    opened = KeySpecification((other.private_key,))
    assert jobs.run(seal("encrypt", maildir, seal_keys=opened)).counts[State.REENCRYPTED] == 5


def test_a_dry_run_counts_the_sealed_size(
    tmp_path: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    # In clear each checkpoint takes one block of the disk, and sealed a second one.
    inner = b"Content-Type: text/plain\n\n" + b"x" * 2_800
    box = tmp_path / "large"
    fill(
        box,
        [
            Mail("", f"cur/130000000{n}.M{n}P1.h:2,S", encrypted(n, keys.old, inner=inner))
            for n in range(3)
        ],
    )
    rehearsed = jobs.run(seal("decrypt", box, dry_run=True))
    plain = jobs.run(seal("decrypt", box, dry_run=True, seal_to=()))
    assert not job.exists()
    assert rehearsed.space is not None
    assert plain.space is not None
    assert rehearsed.space == plain.space + 3 * 4096
    assert rehearsed.preflight is not None
    assert plain.preflight is not None
    assert rehearsed.preflight.space_needed == plain.preflight.space_needed + 3 * 4096


# --- which certificates ------------------------------------------------------------------------


def test_a_certificate_that_must_not_be_encrypted_to_is_refused_unless_accepted(
    maildir: Path, seal: Specify, job: Path, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "unfit.crt", tmp_path / "unfit.key"
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=unfit"),
        *NO_AUTHORITY,
        *("-addext", "keyUsage=digitalSignature", "-keyout", key, "-out", certificate),
    )
    with pytest.raises(CertificateUnusable, match=r"unfit\.crt") as refused:
        jobs.run(seal("decrypt", maildir, seal_to=(certificate,)))
    assert "--accept-certificate" in refused.value.hint
    assert not job.exists()
    accepted = frozenset({fingerprint(certificate)})
    spec = seal("decrypt", maildir, seal_to=(certificate,), accept_fingerprints=accepted)
    assert jobs.run(spec).counts[State.CHECKPOINTED] == 5


def test_a_certificate_that_only_signs_is_refused(
    maildir: Path, seal: Specify, job: Path, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "signer.crt", tmp_path / "signer.key"
    openssl(
        *("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=signer"),
        *("-keyout", key, "-out", certificate),
    )
    with pytest.raises(CertificateUnusable, match=r"signer\.crt"):
        jobs.run(seal("decrypt", maildir, seal_to=(certificate,)))
    assert not job.exists()


def test_an_ml_kem_certificate_serves_as_well(
    maildir: Path, seal: Specify, tmp_path: Path, keys: Keys
) -> None:
    someone = make_holder("ml-kem-768")
    file = tmp_path / "someone.pem"
    file.write_bytes(someone.pem())
    certificate = tmp_path / "someone.crt"
    certificate.write_bytes(someone.certificate.public_bytes(Encoding.PEM))
    before = checker.meanings(maildir, [keys.old])
    jobs.run(seal("decrypt", maildir, seal_to=(certificate,)))
    jobs.run(seal("encrypt", maildir, seal_keys=KeySpecification((file,))))
    assert checker.meanings(maildir, [keys.new]) == before


# --- fixed for the job ------------------------------------------------------------------------


def test_a_later_decrypt_without_the_certificate_is_refused_by_name(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    # F88
    jobs.run(seal("decrypt", maildir))
    files = checkpoints(job)
    with pytest.raises(UsageError, match=fingerprint(keys.transport.certificate)):
        jobs.run(seal("decrypt", maildir, seal_to=()))
    with pytest.raises(UsageError, match=fingerprint(keys.stranger.certificate)):
        jobs.run(seal("decrypt", maildir, seal_to=(keys.stranger.certificate,)))
    assert checkpoints(job) == files


def test_a_job_with_plain_checkpoints_is_not_sealed_later(
    maildir: Path, seal: Specify, job: Path
) -> None:
    jobs.run(seal("decrypt", maildir, seal_to=()))
    with pytest.raises(UsageError, match="plain") as refused:
        jobs.run(seal("decrypt", maildir))
    assert "leave --seal-to out" in refused.value.hint
    assert {path.suffix for path in checkpoints(job)} == {".eml"}


def test_mail_that_comes_later_is_sealed_to_the_same(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(encrypted(21, keys.old))
    assert jobs.run(seal("decrypt", maildir)).counts[State.CHECKPOINTED] == 6
    assert holds_plaintext(job) == []
    assert jobs.run(seal("encrypt", maildir)).counts[State.REENCRYPTED] == 6


# --- opening again ----------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_encrypt_asks_for_the_key_before_it_changes_anything(
    maildir: Path, seal: Specify, job: Path, keys: Keys, dry_run: bool
) -> None:
    # F86
    jobs.run(seal("decrypt", maildir))
    before = checker.census(maildir), contents(job)
    with pytest.raises(UsageError, match=fingerprint(keys.transport.certificate)) as missing:
        jobs.run(seal("encrypt", maildir, seal_keys=None, dry_run=dry_run))
    assert "--seal-keys" in missing.value.hint
    wrong = KeySpecification((keys.stranger.private_key, keys.stranger.certificate))
    with pytest.raises(UsageError, match="no key of --seal-keys"):
        jobs.run(seal("encrypt", maildir, seal_keys=wrong, dry_run=dry_run))
    assert (checker.census(maildir), contents(job)) == before


def test_the_transport_key_may_lie_in_a_pkcs12_file_with_a_passphrase(
    maildir: Path, seal: Specify, keys: Keys, tmp_path: Path
) -> None:
    jobs.run(seal("decrypt", maildir))
    file, right, wrong = tmp_path / "transport.p12", tmp_path / "right", tmp_path / "wrong"
    right.write_text("sesame\n")
    wrong.write_text("something else\n")
    transport = keys.transport
    openssl(
        *("pkcs12", "-export", "-inkey", transport.private_key, "-in", transport.certificate),
        *("-out", file, "-passout", f"file:{right}"),
    )
    with pytest.raises(PassphraseError):
        jobs.run(seal("encrypt", maildir, seal_keys=KeySpecification((file,), wrong)))
    summary = jobs.run(seal("encrypt", maildir, seal_keys=KeySpecification((file,), right)))
    assert summary.counts[State.REENCRYPTED] == 5


def test_a_damaged_sealed_checkpoint_costs_its_message_and_ends_with_16(
    maildir: Path, seal: Specify, job: Path
) -> None:
    # F87
    jobs.run(seal("decrypt", maildir))
    census = checker.census(maildir)
    damaged, missing, *_ = sorted(checkpoints(job))
    raw = bytearray(damaged.read_bytes())
    raw[-30] ^= 1
    damaged.write_bytes(raw)
    missing.unlink()
    summary = jobs.run(seal("encrypt", maildir))
    assert summary.exit_code == 16
    lost = [entry for entry in summary.not_done if "checkpoint" in entry.reason]
    assert len(lost) == summary.counts[State.FAILED]
    assert summary.counts[State.REENCRYPTED] + len(lost) == 5
    places = {entry.ref for entry in lost}
    kept = {name: what for name, what in census.items() if any(ref in name for ref in places)}
    assert len(kept) == len(lost)
    assert kept.items() <= checker.census(maildir).items()


def test_a_sealed_checkpoint_of_something_else_is_told_from_the_one_the_log_knows(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    first, second, *_ = checkpoints(job)
    first.write_bytes(second.read_bytes())
    summary = jobs.run(seal("encrypt", maildir))
    assert summary.exit_code == 16
    assert any("not what the job log knows" in entry.reason for entry in summary.not_done)


def test_the_whole_way_through_the_sealed_job_loses_nothing(
    maildir: Path, seal: Specify, keys: Keys, job: Path
) -> None:
    (maildir / "cur" / "1300000008.M8P1.host:2,").unlink()  # it is cut off
    before = checker.meanings(maildir, [keys.old])
    jobs.run(seal("decrypt", maildir))
    jobs.run(seal("encrypt", maildir))
    assert checker.meanings(maildir, [keys.new]) == before
    new = KeySpecification((keys.new.private_key, keys.new.certificate))
    retired = KeySpecification((keys.history,))
    verified = jobs.run(seal("verify", maildir, verify_keys=new, retire=retired))
    assert verified.retire is not None
    assert [entry.answer for entry in verified.retire] == [Answer.NOT_NEEDED]
    jobs.run(seal("purge", maildir, verify_keys=new))
    assert checkpoints(job) == []


def test_after_a_rollback_decrypt_takes_sealed_checkpoints_back_without_the_key(
    maildir: Path, seal: Specify, job: Path
) -> None:
    jobs.run(seal("decrypt", maildir))
    files = {path: path.stat().st_mtime_ns for path in checkpoints(job)}
    jobs.run(seal("encrypt", maildir))
    jobs.run(seal("rollback", maildir, seal_keys=None))
    assert jobs.run(seal("decrypt", maildir)).counts[State.CHECKPOINTED] == 5
    assert {path: path.stat().st_mtime_ns for path in checkpoints(job)} == files
    assert jobs.run(seal("encrypt", maildir)).counts[State.REENCRYPTED] == 5


def test_what_was_lost_comes_back_from_its_sealed_checkpoint(
    maildir: Path, seal: Specify, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    (lost,) = (maildir / "cur").glob("1300000001*")
    lost.unlink()
    summary = jobs.run(seal("encrypt", maildir, restore_lost=True))
    assert (summary.brought_back, summary.counts[State.REENCRYPTED]) == (1, 5)
    (mail,) = (each for each in checker.stored_mail(maildir) if each.folder == ".Recovered")
    inner = hashlib.sha256(INNER % 1).hexdigest()
    assert checker.inner_digests(mail.raw, [keys.new]) == (inner,)


class Hearing(NoProgress):
    """Remembers warnings."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.heard.append((text, hint))


@pytest.mark.parametrize("with_key", [False, True])
def test_retiring_old_keys_without_the_transport_key_says_what_is_not_looked_into(
    maildir: Path, seal: Specify, keys: Keys, with_key: bool
) -> None:
    jobs.run(seal("decrypt", maildir))
    jobs.run(seal("encrypt", maildir))
    seal_keys = KeySpecification((keys.transport.private_key,)) if with_key else None
    hearing = Hearing()
    retired = KeySpecification((keys.history,))
    jobs.run(seal("verify", maildir, retire=retired, seal_keys=seal_keys), hearing)
    told = [hint for text, hint in hearing.heard if "sealed" in text]
    assert told == ([] if with_key else ["give --seal-keys, or --verify-keys"])


def test_once_all_is_purged_nobody_asks_for_the_transport_key(
    maildir: Path, seal: Specify, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    jobs.run(seal("encrypt", maildir))
    jobs.run(seal("purge", maildir, accept_unproven=True))
    summary = jobs.run(seal("encrypt", maildir, seal_keys=None))
    assert (summary.counts[State.REENCRYPTED], summary.job_data_removed) == (5, 5)


# --- in place ---------------------------------------------------------------------------------


def test_in_place_needs_the_key_before_anything_is_written(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    census = checker.census(maildir)
    wrong = KeySpecification((keys.stranger.private_key,))
    for seal_keys in (None, wrong):
        with pytest.raises(UsageError):
            jobs.run(seal("decrypt", maildir, in_place=True, seal_keys=seal_keys))
    assert checker.census(maildir) == census
    assert checkpoints(job) == []


def test_in_place_and_back_again_from_sealed_checkpoints(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    before = checker.meanings(maildir, [keys.old])
    opening = KeySpecification((keys.transport.private_key,))
    spec = seal("decrypt", maildir, in_place=True, seal_keys=opening)
    assert jobs.run(spec).counts[State.DECRYPTED] == 5
    assert holds_plaintext(job) == []
    assert len(holds_plaintext(maildir)) == 5
    assert jobs.run(seal("encrypt", maildir)).counts[State.REENCRYPTED] == 5
    assert checker.meanings(maildir, [keys.new]) == before
    with pytest.raises(UsageError):
        jobs.run(seal("rollback", maildir, to_stage="decrypted", seal_keys=None))
    summary = jobs.run(seal("rollback", maildir, to_stage="decrypted"))
    assert summary.counts[State.DECRYPTED] == 5


# --- on the command line ----------------------------------------------------------------------


def test_a_person_without_the_key_gets_one_line_and_a_hint(
    sample: list[Mail], keys: Keys, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    maildir, job = tmp_path / "mail", tmp_path / "move"
    fill(maildir, sample)
    seal_to = ("--seal-to", keys.transport.certificate)
    common = ("--job", job, "--workers", "0", "--quiet")

    def sectool(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        return run_app([*map(str, arguments)]), capfd.readouterr().err

    code, _ = sectool("decrypt", maildir, "--keys", keys.history, *seal_to, *common)
    assert code == 3
    code, told = sectool("encrypt", maildir, "--to", keys.new.certificate, *common)
    assert code == 2
    error, hint = told.splitlines()
    assert fingerprint(keys.transport.certificate) in error
    assert hint.startswith("sectool: hint: give")
    opened = ("--seal-keys", keys.transport.private_key)
    code, told = sectool("encrypt", maildir, "--to", keys.new.certificate, *opened, *common)
    assert code == 3
    (verdict,) = told.splitlines()
    assert verdict.startswith("sectool: verdict: 5 messages encrypted to the new keys")


def test_the_transport_key_may_lie_on_a_token(
    maildir: Path, seal: Specify, keys: Keys, tmp_path: Path
) -> None:
    if reason := softhsm.missing_peer():
        peer_missing(reason)
    (tmp_path / "tokens").mkdir()
    store = softhsm.Store(tmp_path / "tokens")
    store.configure()
    store.make("transport")
    key = load_pem_private_key(keys.transport.private_key.read_bytes(), None)
    certificate = load_pem_x509_certificate(keys.transport.certificate.read_bytes())
    store.write("transport", 1, key, certificate, usage=["--usage-decrypt"])
    jobs.run(seal("decrypt", maildir))
    pin = tmp_path / "pin"
    pin.write_text(softhsm.PIN)
    command = [
        *(sys.executable, "-m", "sectool", "encrypt", str(maildir), "--job", str(tmp_path / "job")),
        *("--to", str(keys.new.certificate), "--workers", "2", "--json", "--quiet"),
        *("--seal-keys", softhsm.uri("transport"), "--pin-file", str(pin)),
    ]
    done = subprocess.run(command, env=store.environment, capture_output=True, check=False)
    assert parsed(done.stdout)["counts"]["reencrypted"] == 5, done.stderr


# --- for how long ------------------------------------------------------------------------------


def test_status_tells_sealed_checkpoints_from_plaintext(
    maildir: Path, seal: Specify, job: Path, keys: Keys
) -> None:
    jobs.run(seal("decrypt", maildir))
    told = jobs.status(job).plaintext
    assert told is not None
    assert (told.checkpoints.count, told.since, told.days) == (0, None, 0)
    assert told.sealed.count == len(checkpoints(job))
    assert told.sealed_to == (fingerprint(keys.transport.certificate),)


def test_status_tells_since_when_mail_lies_in_the_mailbox_in_clear(
    maildir: Path, specify: Specify, job: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    told = jobs.status(job).plaintext
    assert told is not None
    assert (told.checkpoints.count, told.in_mailbox.count) == (4, 0)
    jobs.run(specify("decrypt", maildir, in_place=True))
    told = jobs.status(job).plaintext
    assert told is not None
    assert told.in_mailbox.count == 5
    assert told.in_mailbox.since is not None
    assert told.checkpoints.since is not None
    assert told.checkpoints.since <= told.in_mailbox.since <= told.asked
    jobs.run(specify("encrypt", maildir))
    told = jobs.status(job).plaintext
    assert told is not None
    assert (told.in_mailbox.count, told.in_mailbox.since) == (0, None)
