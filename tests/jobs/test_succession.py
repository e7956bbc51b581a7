"""Whom a move encrypts to: the person whose mail it was, with the newest certificate there is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from sectool import jobs
from sectool.errors import CertificateUnusable
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.progress import NoProgress
from sectool.summary import EncryptingSummary
from tests.support import checker
from tests.support.checker import Key
from tests.support.mailboxes import (
    INNER,
    Mail,
    encrypted,
    fill,
    make_key,
    openssl,
    write_private_key,
)
from tests.support.specifications import Fields, Specify, fitting

SMITH, JONES, BOB = (f"{name}@example.org" for name in ("a.smith", "a.jones", "bob"))
THIS_YEAR = datetime.now(UTC).year
AUTHORITY = """
[ca]
default_ca = own
[own]
database = {place}/index
serial = {place}/serial
new_certs_dir = {place}
default_md = sha256
policy = anything
unique_subject = no
[anything]
O = optional
CN = optional
[extensions]
basicConstraints = critical,CA:FALSE
subjectAltName = email:{address}
keyUsage = {usage}
"""

Issue = Callable[..., Key]
Move = Callable[..., EncryptingSummary]


class Warnings(NoProgress):
    """What a person is warned of."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.told.append(f"{text} | {hint}")


@pytest.fixture(scope="module")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Issue:
    """Issues a certificate by openssl, once for all tests that ask for the same."""
    made: dict[object, Key] = {}

    def issued(
        name: str, address: str, start: int, end: int, usage: str = "keyEncipherment"
    ) -> Key:
        asked = (name, address, start, end, usage)
        if asked in made:
            return made[asked]
        place = tmp_path_factory.mktemp(name)
        (place / "index").touch()
        (place / "serial").write_text("01\n")
        (place / "own").write_text(AUTHORITY.format(place=place, address=address, usage=usage))
        key = Key(place / f"{name}.crt", place / f"{name}.key")
        subject = ("-subj", f"/O=Example/CN={name}")
        openssl(
            *("req", "-new", "-key", write_private_key(key.private_key, f"issued {asked}")),
            *(*subject, "-out", place / "request"),
        )
        openssl(
            *("ca", "-batch", "-notext", "-selfsign", "-config", place / "own"),
            *("-startdate", f"{start}0101000000Z", "-enddate", f"{end}0101000000Z"),
            *("-extensions", "extensions", "-keyfile", key.private_key),
            *("-in", place / "request", "-out", key.certificate),
        )
        made[asked] = key
        return key

    return issued


def history(*keys: Key) -> KeySpecification:
    return KeySpecification(
        tuple(path for key in keys for path in (key.certificate, key.private_key))
    )


def fingerprint(key: Key) -> str:
    certificate = x509.load_pem_x509_certificate(key.certificate.read_bytes())
    return certificate.fingerprint(SHA256()).hex()


@pytest.fixture
def move(specify: Specify, tmp_path: Path) -> Move:
    """Decrypts a message to the first of the old keys, and encrypts it, or rewraps it at once."""

    def moved(
        way: str,
        old: list[Key],
        new: list[Key],
        *,
        warnings: Warnings | None = None,
        **options: Unpack[Fields],
    ) -> EncryptingSummary:
        box = tmp_path / "box"
        if not box.exists():
            raw = encrypted(1, old[0])
            fill(
                box, [Mail("", "cur/1.M1P1.host:2,", b"To: A. Smith <A.Smith@example.org>\n" + raw)]
            )
        to = tuple(key.certificate for key in new)
        if way == "encrypt":
            jobs.run(specify("decrypt", box, keys=history(*old)))
        usual: Fields = {"keys": history(*old), "new_certificates": to}
        summary = jobs.run(specify(way, box, **fitting(way, usual, options)), warnings)
        assert isinstance(summary, EncryptingSummary)
        return summary

    return moved


WAYS = pytest.mark.parametrize("way", ["encrypt", "rewrap"])
REPLACED = {"encrypt": State.REENCRYPTED, "rewrap": State.REWRAPPED}


# --- the same person -----------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_certificate_of_somebody_else_is_refused_with_both_sides_and_what_answers_it(
    way: str, dry_run: bool, move: Move, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", JONES, 2025, 2050)
    with pytest.raises(CertificateUnusable) as caught:
        move(way, [old], [new], dry_run=dry_run)
    assert caught.value.exit_code == 15
    assert f"Old: {SMITH}. New: {JONES}" in caught.value.message.replace("A.Smith", "a.smith")
    assert f"--owner {JONES}" in caught.value.hint
    assert checker.inner_digests(next((tmp_path / "box" / "cur").iterdir()).read_bytes(), [old])
    answered = move(way, [old], [new], dry_run=dry_run, owners=(SMITH, JONES))
    assert answered.owner_checked
    assert dry_run or answered.counts[REPLACED[way]] == 1


@WAYS
def test_one_address_in_common_is_enough_however_it_is_written(
    way: str, move: Move, issue: Issue
) -> None:
    old = issue("old", f"{SMITH},email:{BOB}", 2020, 2050)
    new = issue("new", f"{JONES},email:{SMITH.upper()}", 2025, 2050)
    assert move(way, [old], [new]).counts[REPLACED[way]] == 1


def test_a_name_that_decrypt_was_told_is_the_owners_for_encrypt_as_well(
    specify: Specify, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", JONES, 2025, 2050)
    fill(tmp_path / "box", [Mail("", "cur/1.M1P1.host:2,", encrypted(1, old))])
    jobs.run(specify("decrypt", tmp_path / "box", keys=history(old), owners=(SMITH, JONES)))
    spec = specify("encrypt", tmp_path / "box", new_certificates=(new.certificate,))
    assert jobs.run(spec).counts[State.REENCRYPTED] == 1


def test_one_new_certificate_of_several_that_agrees_is_enough(move: Move, issue: Issue) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", SMITH, 2025, 2050)
    archive = issue("archive", "archive@example.org", 2025, 2050)
    assert move("encrypt", [old], [archive, new]).counts[State.REENCRYPTED] == 1


def test_the_old_side_is_told_by_its_certificate_where_no_mail_names_the_address(
    specify: Specify, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", JONES, 2025, 2050)
    fill(tmp_path / "box", [Mail("", "cur/1.M1P1.host:2,", encrypted(1, old))])
    jobs.run(specify("decrypt", tmp_path / "box", keys=history(old)))
    with pytest.raises(CertificateUnusable, match=r"Old: certificate 0?1 of .*CN=old.*old\.key"):
        jobs.run(specify("encrypt", tmp_path / "box", new_certificates=(new.certificate,)))


@WAYS
def test_the_job_log_knows_certificates_and_no_address(
    way: str, move: Move, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", SMITH, 2025, 2050)
    move(way, [old], [new])
    log = tmp_path / "job" / "job.db"
    with closing(sqlite3.connect(log)) as connection:
        query = "SELECT value FROM job WHERE name = 'key_history'"
        record = json.loads(connection.execute(query).fetchone()[0])
    (noted,) = record["certificates"]
    assert noted["fingerprint"] == fingerprint(old)
    (digest,) = noted["addresses"]
    assert len(digest) == 64
    assert b"smith" not in log.read_bytes().lower()


def test_another_job_has_other_digests_of_the_same_address(issue: Issue) -> None:
    from sectool.jobs.work.addresses import address_digest

    digests = {address_digest(job, SMITH) for job in ("one", "two")}
    assert len(digests) == 2
    assert address_digest("one", SMITH.upper()) in digests


@WAYS
def test_a_certificate_without_address_asks_to_be_accepted_for_that(
    way: str, move: Move, issue: Issue, tmp_path: Path
) -> None:
    old = issue("old", SMITH, 2020, 2050)
    nobody = make_key(tmp_path, "nobody", "")
    with pytest.raises(CertificateUnusable, match="names no mail address") as caught:
        move(way, [old], [nobody])
    assert f"--accept-certificate {fingerprint(nobody)} overrides this check (address)" in (
        caught.value.hint
    )
    accepted = frozenset({f"{fingerprint(nobody)}:address"})
    warnings = Warnings()
    summary = move(way, [old], [nobody], accept_fingerprints=accepted, warnings=warnings)
    assert summary.counts[REPLACED[way]] == 1
    assert any("names no mail address" in text for text in warnings.told)
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as connection:
        query = "SELECT value FROM job WHERE name = 'certificates'"
        record = json.loads(connection.execute(query).fetchone()[0])
    assert [one["overridden"] for one in record["to"]] == [["address"]]


def test_accepting_another_check_does_not_do_without_the_address(
    move: Move, issue: Issue, tmp_path: Path
) -> None:
    old = issue("old", SMITH, 2020, 2050)
    nobody = make_key(tmp_path, "nobody", "")
    accepted = frozenset({f"{fingerprint(nobody)}:validity"})
    with pytest.raises(CertificateUnusable, match="names no mail address"):
        move("encrypt", [old], [nobody], accept_fingerprints=accepted)


def test_a_job_of_an_older_version_is_warned_of_and_goes_on(
    specify: Specify, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", JONES, 2025, 2050)
    fill(tmp_path / "box", [Mail("", "cur/1.M1P1.host:2,", encrypted(1, old))])
    jobs.run(specify("decrypt", tmp_path / "box", keys=history(old)))
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as connection, connection:
        connection.execute("DELETE FROM job WHERE name = 'key_history'")
    warnings = Warnings()
    spec = specify("encrypt", tmp_path / "box", new_certificates=(new.certificate,))
    assert jobs.run(spec, warnings).counts[State.REENCRYPTED] == 1
    assert any("older version" in text and "--owner" in text for text in warnings.told)


def test_keys_without_certificate_say_nothing_of_whose_mail_it_is_and_that_is_told(
    specify: Specify, issue: Issue, tmp_path: Path
) -> None:
    old, new = issue("old", SMITH, 2020, 2050), issue("new", JONES, 2025, 2050)
    # What nothing names and proves has to be long enough to be taken.
    raw = encrypted(1, old, options=("-aes-256-gcm",))
    fill(tmp_path / "box", [Mail("", "cur/1.M1P1.host:2,", raw)])
    bare = KeySpecification((old.private_key,), try_keys=True)
    jobs.run(specify("decrypt", tmp_path / "box", keys=bare))
    warnings = Warnings()
    spec = specify("encrypt", tmp_path / "box", new_certificates=(new.certificate,))
    assert jobs.run(spec, warnings).counts[State.REENCRYPTED] == 1
    assert any("no old key has a certificate" in text for text in warnings.told)


# --- the newest certificate ----------------------------------------------------------------------


@WAYS
def test_an_old_certificate_is_refused_while_a_newer_one_is_in_the_history(
    way: str, move: Move, issue: Issue
) -> None:
    old, newer = issue("older", SMITH, 2023, 2050), issue("newer", SMITH, 2025, 2050)
    told = r"is the old certificate of 2023; a newer one is at hand: newer\.key"
    with pytest.raises(CertificateUnusable, match=told) as caught:
        move(way, [old, newer], [old])
    assert caught.value.hint.endswith("overrides this check (newest)")
    accepted = frozenset({fingerprint(old)})
    summary = move(way, [old, newer], [old], accept_fingerprints=accepted, dry_run=True)
    assert summary.new_certificates
    assert "old certificate of 2023" in summary.new_certificates[0].overridden[0]


def test_the_newest_certificate_of_the_history_is_good(move: Move, issue: Issue) -> None:
    old, newer = issue("older", SMITH, 2023, 2050), issue("newer", SMITH, 2025, 2050)
    assert move("encrypt", [old, newer], [newer]).counts[State.REENCRYPTED] == 1


UNFIT = {
    "expired": ("late", SMITH, 2024, 2025),
    "for signatures only": ("signer", SMITH, 2025, 2050, "digitalSignature"),
    "of the same day": ("twin", SMITH, 2023, 2050),
}


@pytest.mark.parametrize("newer", UNFIT.values(), ids=UNFIT)
def test_what_nobody_could_encrypt_to_instead_makes_no_certificate_an_old_one(
    newer: tuple[object, ...], move: Move, issue: Issue
) -> None:
    old = issue("older", SMITH, 2023, 2050)
    summary = move("encrypt", [old, issue(*newer)], [old])
    assert summary.counts[State.REENCRYPTED] == 1


@WAYS
def test_an_old_certificate_beside_a_newer_one_is_a_transition_and_told_so(
    way: str, move: Move, issue: Issue
) -> None:
    old, newer = issue("older", SMITH, 2023, 2050), issue("newer", SMITH, 2025, 2050)
    warnings = Warnings()
    summary = move(way, [old], [old, newer], warnings=warnings, dry_run=True)
    assert [one.is_in_transition for one in summary.new_certificates] == [True, False]
    assert any("a transition" in text for text in warnings.told)


def test_the_file_that_is_named_has_no_address_in_the_log(
    move: Move, issue: Issue, tmp_path: Path
) -> None:
    old, newer = issue("older", SMITH, 2023, 2050), issue("newer", SMITH, 2025, 2050)
    copy = Key(tmp_path / f"{SMITH}.crt", tmp_path / f"{SMITH}.key")
    for source, target in zip(
        (newer.certificate, newer.private_key), (copy.certificate, copy.private_key), strict=True
    ):
        target.write_bytes(source.read_bytes())
    with pytest.raises(CertificateUnusable, match=r"at hand: \(address\)"):
        move("encrypt", [old, copy], [old])
    assert b"smith" not in (tmp_path / "job" / "job.db").read_bytes().lower()


# --- who loses access ----------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path, issue: Issue) -> Path:
    """Mail that went out to Bob, and mail that a co-owner reads as well."""
    old, bob = issue("old", SMITH, 2020, 2050), issue("bob", BOB, 2020, 2050)
    partner = issue("partner", "partner@example.org", 2020, 2050)
    (tmp_path / "inner").write_bytes(INNER % 1)
    mail = []
    for number, (folder, other) in enumerate(
        [(".Gesendete Objekte", bob), (".Gesendete Objekte", bob), ("", partner), ("", partner)]
    ):
        both = (old.certificate, other.certificate)
        raw = openssl("cms", "-encrypt", "-binary", "-aes256", "-in", tmp_path / "inner", *both)
        mail.append(Mail(folder, f"cur/{number}.M1P1.host:2,", b"X-N: %d\r\n" % number + raw))
    fill(tmp_path / "box", mail)
    return tmp_path / "box"


@pytest.mark.parametrize("dry_run", [True, False])
def test_correspondents_of_sent_mail_are_told_from_others_with_addresses_at_hand(
    dry_run: bool, shared: Path, specify: Specify, issue: Issue
) -> None:
    old, bob = issue("old", SMITH, 2020, 2050), issue("bob", BOB, 2020, 2050)
    new = issue("new", SMITH, 2025, 2050)
    keys = KeySpecification((old.certificate, old.private_key, bob.certificate))
    spec = specify(
        "rewrap", shared, keys=keys, new_certificates=(new.certificate,), dry_run=dry_run
    )
    summary = jobs.run(spec)
    told = {
        key.issuer: (count, summary.losing_access_sent[key], summary.addresses_at_hand.get(key))
        for key, count in summary.losing_access.items()
    }
    assert told == {"CN=bob,O=Example": (2, 2, (BOB,)), "CN=partner,O=Example": (2, 0, None)}


def test_who_gets_a_new_certificate_of_the_same_address_loses_nothing(
    shared: Path, specify: Specify, issue: Issue
) -> None:
    old, bob = issue("old", SMITH, 2020, 2050), issue("bob", BOB, 2020, 2050)
    new, bob_new = issue("new", SMITH, 2025, 2050), issue("bob-new", BOB, 2025, 2050)
    keys = KeySpecification((old.certificate, old.private_key, bob.certificate))
    to = (new.certificate, bob_new.certificate)
    summary = jobs.run(specify("rewrap", shared, keys=keys, new_certificates=to))
    assert [key.issuer for key in summary.losing_access] == ["CN=partner,O=Example"]
