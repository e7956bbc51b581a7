"""The verdict of a scan: what a move now would make unreadable, and what kind of move it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.summary import Preflight, Scenario
from tests.support import checker, layers
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

Key = ec.EllipticCurvePrivateKey


def _verdict(spec: jobs.Scan | jobs.Decrypt) -> Preflight:
    verdict = jobs.run(spec).preflight
    assert verdict is not None
    return verdict


@pytest.fixture
def readable(keys: Keys, tmp_path: Path) -> Path:
    """A mailbox of one clear message and one for the old key."""
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000006.M6P1.host:2,RS", CLEAR),
    ]
    fill(tmp_path / "readable", mail)
    return tmp_path / "readable"


def _history(*paths: Path) -> KeySpecification:
    return KeySpecification(paths, None, None)


def test_a_mailbox_without_encrypted_mail_is_safe(specify: Specify, tmp_path: Path) -> None:
    fill(tmp_path / "clear", [Mail("", "cur/1300000006.M6P1.host:2,RS", CLEAR)])
    verdict = _verdict(specify("scan", tmp_path / "clear", keys=None))
    assert (verdict.safe_to_move, verdict.unreadable_if_moved_now, verdict.reason) == (True, 0, "")


def test_encrypted_mail_is_not_safe_while_nothing_is_said_of_the_new_keys(
    specify: Specify, readable: Path
) -> None:
    verdict = _verdict(specify("scan", readable))
    assert (verdict.safe_to_move, verdict.unreadable_if_moved_now) == (False, 1)
    assert verdict.unreadable_after_decrypting == 0


def test_a_new_place_with_the_old_keys_is_safe(
    specify: Specify, readable: Path, keys: Keys
) -> None:
    verdict = _verdict(specify("scan", readable, new_keys=_history(keys.history)))
    assert (verdict.safe_to_move, verdict.scenario) == (True, Scenario.UPGRADE)


def test_a_missing_key_is_named_with_its_messages(
    specify: Specify, maildir: Path, keys: Keys
) -> None:
    verdict = _verdict(specify("scan", maildir, new_keys=_history(keys.history)))
    assert not verdict.safe_to_move
    assert [(bool(key.serial_number), n) for key, n in verdict.missing_keys.items()] == [(True, 1)]
    # The stranger's message and the damaged one.
    assert verdict.unreadable_if_moved_now == verdict.unreadable_after_decrypting == 2


def _two_forwards(tmp_path: Path, *recipients: tuple[checker.Key, ...]) -> Path:
    forwards = [
        layers.forward(layers.message(number, layers.encrypt(layers.TEXT, *to)))
        for number, to in enumerate(recipients, 2)
    ]
    raw = layers.stored(layers.message(1, layers.multipart(*forwards)))
    fill(tmp_path / "two", [Mail("", "cur/1.M1P1.host:2,", raw)])
    return tmp_path / "two"


def test_a_key_beside_one_that_opens_is_somebody_elses_and_none_that_is_missing(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    box = _two_forwards(tmp_path, (keys.old, keys.transport), (keys.stranger,))
    assert _verdict(specify("scan", box)).missing_keys == {}
    bare = _two_forwards(tmp_path / "bare", (keys.stranger,), (keys.transport,))
    missing = _verdict(specify("scan", bare)).missing_keys
    assert {key.issuer for key in missing} == {"CN=stranger,O=Example", "CN=transport,O=Example"}


def test_parts_that_each_name_a_new_key_stay_readable_whoever_else_they_name(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    box = _two_forwards(tmp_path, (keys.old, keys.transport), (keys.stranger, keys.old))
    new = _history(keys.history)
    assert _verdict(specify("scan", box, new_keys=new)).safe_to_move
    only_one = _history(keys.transport.certificate, keys.transport.private_key)
    assert not _verdict(specify("scan", box, new_keys=only_one)).safe_to_move


def test_without_keys_nobody_says_what_decrypting_would_leave(
    specify: Specify, readable: Path
) -> None:
    verdict = _verdict(specify("scan", readable, keys=None))
    assert (verdict.safe_to_move, verdict.unreadable_after_decrypting) == (False, None)
    assert verdict.seconds is None


def test_what_was_not_looked_at_is_not_safe(specify: Specify, readable: Path, keys: Keys) -> None:
    some = jobs.Selection(limit=1)
    spec = specify("scan", readable, new_keys=_history(keys.history), selection=some)
    assert not _verdict(spec).safe_to_move


def test_a_mailbox_with_a_link_in_it_is_not_safe(specify: Specify, tmp_path: Path) -> None:
    fill(tmp_path / "clear", [Mail("", "cur/1300000006.M6P1.host:2,RS", CLEAR)])
    (tmp_path / "clear" / ".Shared").symlink_to(tmp_path)
    verdict = _verdict(specify("scan", tmp_path / "clear", keys=None))
    assert (verdict.safe_to_move, verdict.unreadable_if_moved_now) == (False, 0)
    assert "passed over: 1" in verdict.reason


def _issue(path: Path, authority: str, signer: Key) -> Path:
    """A private key with a certificate by ``authority``, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, authority)])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)]))
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=30))
        .add_extension(identifier, critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.mark.parametrize("kind", Scenario)
def test_the_kind_of_move_is_told_by_keys_and_issuers(
    kind: Scenario, specify: Specify, readable: Path, tmp_path: Path
) -> None:
    ours, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    old = _issue(tmp_path / "old.pem", "ours", ours)
    places: dict[Scenario, Any] = {
        Scenario.UPGRADE: (old, _issue(tmp_path / "a.pem", "ours", ours)),
        Scenario.RE_ENROLMENT: (_issue(tmp_path / "b.pem", "ours", ours),),
        Scenario.CLEAN_INSTALLATION: (_issue(tmp_path / "c.pem", "ours", theirs),),
        Scenario.NEW_SITE: (_issue(tmp_path / "d.pem", "theirs", theirs),),
    }
    spec = specify("scan", readable, keys=_history(old), new_keys=_history(*places[kind]))
    assert _verdict(spec).scenario is kind


def test_losing_one_of_several_old_keys_is_no_upgrade(
    specify: Specify, readable: Path, tmp_path: Path
) -> None:
    signer = ec.generate_private_key(ec.SECP256R1())
    old = [_issue(tmp_path / f"{name}.pem", "ours", signer) for name in ("one", "two")]
    spec = specify("scan", readable, keys=_history(*old), new_keys=_history(old[0]))
    assert _verdict(spec).scenario is Scenario.RE_ENROLMENT


def test_a_dry_run_of_decrypt_gives_the_verdict_of_a_scan(
    specify: Specify, maildir: Path, tmp_path: Path
) -> None:
    scanned = _verdict(specify("scan", maildir))
    rehearsed = _verdict(specify("decrypt", maildir, job=tmp_path / "job", dry_run=True))
    for name in ("safe_to_move", "reason", "unreadable_if_moved_now", "missing_keys"):
        assert getattr(rehearsed, name) == getattr(scanned, name)
    assert rehearsed.space_needed == scanned.space_needed > 0
    assert not (tmp_path / "job").exists()


def test_what_is_checkpointed_is_safe_in_a_later_dry_run(
    specify: Specify, readable: Path, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", readable, job=tmp_path / "job"))
    verdict = _verdict(specify("decrypt", readable, job=tmp_path / "job", dry_run=True))
    assert (verdict.safe_to_move, verdict.unreadable_if_moved_now) == (True, 0)


def test_a_sample_is_projected_on_the_whole_mailbox(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    mail = [
        Mail("", f"cur/13000000{n:02}.M{n}P1.host:2,S", encrypted(n, keys.old)) for n in range(8)
    ]
    fill(tmp_path / "box", mail)
    whole = _verdict(specify("scan", tmp_path / "box"))
    sample = _verdict(specify("scan", tmp_path / "box", selection=jobs.Selection(limit=2)))
    assert sample.space_needed == pytest.approx(whole.space_needed, rel=0.02)


def test_no_kind_of_move_is_named_where_no_old_key_is_known(
    specify: Specify, readable: Path, keys: Keys, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.csv"
    secrets.write_text("password,,anything\n", encoding="utf-8")
    secrets.chmod(0o600)
    nothing = KeySpecification((), None, None, secrets=secrets)
    verdict = _verdict(specify("scan", readable, keys=nothing, new_keys=_history(keys.history)))
    assert verdict.scenario is None
