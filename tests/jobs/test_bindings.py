"""A key that was certified more than once opens mail which names a certificate not at hand."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner

from sectool import jobs
from sectool.cli.app import app
from sectool.jobs.passes import bindings
from sectool.keys import KeyHistory, KeySpecification, load_key_history
from sectool.outcome import Binding, PublicKeyDigest, RecipientKey, State
from sectool.summary import OpeningSummary, Summary
from tests.support import checker, crash, softhsm
from tests.support.documents import parsed
from tests.support.layers import TEXT, encrypt, message, multipart, stored
from tests.support.mailboxes import Keys, Mail, fill, openssl, write_private_key
from tests.support.peers import peer_missing
from tests.support.recertified import (
    HEADERLESS,
    SHORT,
    Recertified,
    make_recertified,
    written_to,
)
from tests.support.specifications import Fields, Specify, fitting


@pytest.fixture(scope="module")
def rsa(tmp_path_factory: pytest.TempPathFactory) -> Recertified:
    return make_recertified(tmp_path_factory.mktemp("rsa"), "alice")


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Recertified:
    return make_recertified(tmp_path_factory.mktemp("curve"), "bob", "p-256")


def mailbox(maildir: Path, messages: list[bytes]) -> Path:
    mail = [Mail("", f"cur/13{n:08}.M1P1.host:2,S", raw) for n, raw in enumerate(messages)]
    fill(maildir, mail)
    return maildir


def opening(spec: jobs.Specification) -> OpeningSummary:
    summary = jobs.run(spec)
    assert isinstance(summary, OpeningSummary)
    return summary


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def logged(job: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{job / 'job.db'}?mode=ro", uri=True)) as log:
        return list(
            log.execute(
                "SELECT issuer, serial_number, subject_key_identifier, public_key FROM binding"
            )
        )


def serial_of(certificate: Path) -> str:
    text = openssl("x509", "-noout", "-serial", "-in", certificate).decode()
    return text.strip().partition("=")[2].lower()


def public_key_of(private_key: Path) -> str:
    return hashlib.sha256(
        openssl("pkey", "-pubout", "-outform", "DER", "-in", private_key)
    ).hexdigest()


OAEP = ("-keyopt", "rsa_padding_mode:oaep")
WAYS = {
    "PKCS#1 v1.5 and CBC": ("rsa", "-aes256", (), 3),
    "PKCS#1 v1.5 and 3DES": ("rsa", "-des3", (), 2),
    "PKCS#1 v1.5 and GCM": ("rsa", "-aes-256-gcm", (), 1),
    "OAEP and CBC": ("rsa", "-aes128", OAEP, 1),
    "ECDH and CBC": ("curve", "-aes256", (), 1),
    "ECDH and GCM": ("curve", "-aes-128-gcm", (), 1),
}


@pytest.mark.parametrize(("which", "cipher", "options", "number"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("operation", ["scan", "decrypt", "rewrap"])
def test_mail_to_the_older_certificate_opens_and_binds_it_to_the_key(
    operation: str,
    which: str,
    cipher: str,
    options: tuple[str, ...],
    number: int,
    request: pytest.FixtureRequest,
    specify: Specify,
    tmp_path: Path,
) -> None:
    owner: Recertified = request.getfixturevalue(which)
    messages = [
        written_to(n, owner.older.certificate, work=tmp_path, cipher=cipher, options=options)
        for n in range(number)
    ]
    maildir = mailbox(tmp_path / "Maildir", messages)
    before = checker.meanings(maildir, [owner.older])
    fields: Fields = {"keys": KeySpecification((owner.history,)), "or_reencrypt": True}
    spec = specify(operation, maildir, **fitting(operation, fields))
    summary = opening(spec)
    kept = State.REWRAPPED if cipher in {"-aes128", "-aes256"} else State.REENCRYPTED
    states = {"scan": State.READABLE, "decrypt": State.CHECKPOINTED, "rewrap": kept}
    assert counts(summary) == {states[operation]: number}
    assert summary.exit_code == 0
    (bound,) = summary.bindings
    serial, digest = serial_of(owner.older.certificate), public_key_of(owner.older.private_key)
    assert bound.recipient.serial_number == serial
    assert (bound.file, bound.messages, bound.is_bound) == (
        owner.older.private_key.name,
        number,
        True,
    )
    assert summary.keys_in_history == set(summary.keys)
    assert summary.not_tried is None
    if operation == "scan":
        return
    ((_, logged_serial, _, public_key),) = logged(tmp_path / "job")
    assert (logged_serial, public_key) == (serial, digest)
    census = checker.census(maildir)
    again = opening(spec)
    assert counts(again) == counts(summary)
    assert [(one.messages, one.opened) for one in again.bindings] == [(number, None)]
    assert checker.census(maildir) == census
    assert len(before) == number


def test_what_a_rewrap_exchanges_opens_for_the_new_key_to_the_same_mail(
    rsa: Recertified, keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(3)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    before = checker.meanings(maildir, [rsa.older])
    summary = jobs.run(specify("rewrap", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.REWRAPPED: 3}
    assert checker.meanings(maildir, [keys.new]) == before


@pytest.mark.parametrize("operation", ["scan", "decrypt", "rewrap"])
def test_one_message_that_proves_nothing_is_taken_and_binds_nothing(
    operation: str, rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    message = written_to(1, rsa.older.certificate, work=tmp_path)
    # A copy of it is no second proof.
    maildir = mailbox(tmp_path / "Maildir", [message, b"X-Copy: mine\n" + message])
    spec = specify(operation, maildir, keys=KeySpecification((rsa.history,)))
    summary = opening(spec)
    taken = {"scan": State.READABLE, "decrypt": State.CHECKPOINTED, "rewrap": State.REWRAPPED}
    assert summary.counts[taken[operation]] >= 1
    assert not any(one.is_bound for one in summary.bindings)
    if operation != "scan":
        assert logged(tmp_path / "job") == []
        assert counts(jobs.run(spec)) == counts(summary)


def test_short_mail_is_left_to_a_person_until_longer_mail_binds_the_certificate(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    short = [written_to(n, rsa.older.certificate, work=tmp_path, inner=SHORT) for n in range(3)]
    maildir = mailbox(tmp_path / "Maildir", short)
    spec = specify("decrypt", maildir, keys=KeySpecification((rsa.history,)))
    first = jobs.run(spec)
    assert counts(first) == {State.REVIEW: 3}
    assert first.bindings == []
    assert counts(jobs.run(spec)) == {State.REVIEW: 3}
    digest = first.not_done[0].reason.rpartition("--accept ")[2]
    accepting = specify(
        "decrypt",
        maildir,
        keys=KeySpecification((rsa.history,)),
        released=frozenset({digest}),
    )
    assert counts(jobs.run(accepting)) == {State.REVIEW: 2, State.CHECKPOINTED: 1}
    for n in (7, 8):
        path = maildir / "cur" / f"140000000{n}.M1P1.host:2,"
        path.write_bytes(written_to(n, rsa.older.certificate, work=tmp_path))
    assert counts(jobs.run(spec)) == {State.CHECKPOINTED: 5}


def test_short_mail_counts_as_named_beside_mail_that_binds(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    messages = [
        *(written_to(n, rsa.older.certificate, work=tmp_path) for n in range(3)),
        written_to(3, rsa.older.certificate, work=tmp_path, inner=SHORT),
        written_to(4, rsa.older.certificate, work=tmp_path, inner=HEADERLESS),
    ]
    maildir = mailbox(tmp_path / "Maildir", messages)
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.CHECKPOINTED: 4, State.REVIEW: 1}


def test_headerless_mail_alone_is_left_to_a_person(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    message = written_to(1, rsa.older.certificate, work=tmp_path, inner=HEADERLESS)
    maildir = mailbox(tmp_path / "Maildir", [message])
    summary = jobs.run(specify("scan", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.REVIEW: 1}
    assert summary.bindings == []


def test_wrong_keys_of_the_same_size_open_nothing_and_the_right_one_is_found_among_them(
    rsa: Recertified, keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    messages = [
        *(written_to(n, rsa.older.certificate, work=tmp_path) for n in range(4)),
        *(written_to(n, keys.stranger.certificate, work=tmp_path) for n in range(4, 9)),
    ]
    maildir = mailbox(tmp_path / "Maildir", messages)
    history = KeySpecification(
        (keys.history, rsa.history, keys.transport.certificate, keys.transport.private_key)
    )
    summary = jobs.run(specify("decrypt", maildir, keys=history))
    assert counts(summary) == {State.CHECKPOINTED: 4, State.MISSING_KEY: 5}
    (bound,) = summary.bindings
    assert (bound.file, bound.messages) == (rsa.older.private_key.name, 4)
    without = specify(
        "decrypt", maildir, job=tmp_path / "other", keys=KeySpecification((keys.history,))
    )
    assert counts(jobs.run(without)) == {State.MISSING_KEY: 9}


def test_a_subject_key_identifier_that_no_certificate_at_hand_has_is_bound_as_well(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.crt"
    openssl(
        *("req", "-x509", "-key", rsa.older.private_key, "-days", "300", "-subj", "/CN=odd"),
        *("-addext", "subjectKeyIdentifier=01:02:03:04:05", "-out", odd),
    )
    messages = [
        written_to(n, odd, work=tmp_path, options=("-keyid",), cipher="-aes-256-gcm")
        for n in range(2)
    ]
    maildir = mailbox(tmp_path / "Maildir", messages)
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.CHECKPOINTED: 2}
    assert [one.recipient.subject_key_identifier for one in summary.bindings] == ["0102030405"]


def test_an_address_in_the_issuer_does_not_enter_the_log_and_a_later_run_knows_it_still(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    personal = tmp_path / "personal.crt"
    openssl(
        *("req", "-x509", "-key", rsa.older.private_key, "-days", "300"),
        *("-subj", "/CN=alice/emailAddress=alice@example.org", "-out", personal),
    )
    messages = [written_to(n, personal, work=tmp_path) for n in range(3)]
    maildir = mailbox(tmp_path / "Maildir", messages[:2])
    spec = specify("decrypt", maildir, keys=KeySpecification((rsa.history,)))
    assert counts(jobs.run(spec)) == {State.CHECKPOINTED: 2}
    assert b"alice@example.org" not in (tmp_path / "job" / "job.db").read_bytes()
    (maildir / "cur" / "1400000000.M1P1.host:2,").write_bytes(messages[2])
    again = jobs.run(spec)
    assert counts(again) == {State.CHECKPOINTED: 3}
    assert [(one.messages, one.tried) for one in again.bindings] == [(3, None)]


def test_a_layer_inside_opens_with_what_the_mail_around_it_bound(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    inner = written_to(9, rsa.older.certificate, work=tmp_path).replace(b"%", b"%%")
    messages = [
        *(written_to(n, rsa.older.certificate, work=tmp_path) for n in range(2)),
        written_to(2, rsa.newer.certificate, work=tmp_path, inner=inner.replace(b"\n", b"\r\n")),
    ]
    maildir = mailbox(tmp_path / "Maildir", messages)
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.CHECKPOINTED: 3}
    assert summary.needs_old_keys == []


# --- how far it goes ------------------------------------------------------------------------


def strangers(directory: Path, count: int) -> Iterator[Path]:
    """Certificates of other people, all for one key that nobody has."""
    directory.mkdir()
    key = write_private_key(directory / "lost.key", "lost")
    for number in range(count):
        certificate = directory / f"{number}.crt"
        openssl(
            *("req", "-x509", "-key", key, "-days", "300", "-subj", f"/CN=person {number}"),
            *("-out", certificate),
        )
        yield certificate


@pytest.mark.parametrize("operation", ["scan", "decrypt"])
def test_the_certificates_that_most_mail_names_are_tried_first_and_the_others_are_told(
    operation: str,
    rsa: Recertified,
    specify: Specify,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bindings, "SCAN_OPERATIONS", 5)
    monkeypatch.setattr(bindings, "RUN_OPERATIONS", 5)
    others = list(strangers(tmp_path / "strangers", 4))
    messages = [written_to(n, one, work=tmp_path) for n, one in enumerate(others)]
    messages += [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(4, 7)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    summary = opening(specify(operation, maildir, keys=KeySpecification((rsa.history,))))
    opened = State.READABLE if operation == "scan" else State.CHECKPOINTED
    assert counts(summary) == {opened: 3, State.MISSING_KEY: 4}
    left = summary.not_tried
    assert left is not None
    assert (left.certificates, left.messages, left.operations) == (2, 2, 5)


@pytest.mark.parametrize(
    ("limit", "value"), [("CERTIFICATES_PER_MESSAGE", 2), ("OCTETS_PER_OPERATION", 1)]
)
def test_a_message_that_names_many_certificates_is_not_opened_for_each(
    limit: str,
    value: int,
    rsa: Recertified,
    specify: Specify,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bindings, limit, value)
    others = list(strangers(tmp_path / "strangers", 5))
    # Those that other mail names as well are tried, however many stand in it.
    crowd = written_to(1, *others, rsa.older.certificate, work=tmp_path)
    owned = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(2, 5)]
    maildir = mailbox(tmp_path / "Maildir", [crowd, *owned])
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.CHECKPOINTED: 4}
    assert summary.not_tried is not None
    assert 3 <= summary.not_tried.certificates <= 5


def test_nothing_is_tried_where_the_owners_own_key_opens_the_message(
    rsa: Recertified, specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "RUN_OPERATIONS", 0)
    (other,) = strangers(tmp_path / "strangers", 1)
    message = written_to(1, rsa.newer.certificate, other, work=tmp_path)
    maildir = mailbox(tmp_path / "Maildir", [message])
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((rsa.history,))))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert summary.not_tried is None


def test_a_key_of_another_kind_is_not_tried(
    rsa: Recertified,
    curve: Recertified,
    specify: Specify,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bindings, "RUN_OPERATIONS", 0)
    maildir = mailbox(tmp_path / "Maildir", [written_to(1, rsa.older.certificate, work=tmp_path)])
    summary = jobs.run(specify("decrypt", maildir, keys=KeySpecification((curve.history,))))
    assert counts(summary) == {State.MISSING_KEY: 1}
    assert summary.not_tried is None


def test_many_certificates_are_kept_count_of_in_bounded_memory(
    rsa: Recertified, specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "CERTIFICATES", 3)
    others = list(strangers(tmp_path / "strangers", 5))
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in (10, 11)]
    messages += [written_to(n, one, work=tmp_path) for n, one in enumerate(others)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    summary = jobs.run(specify("scan", maildir, keys=KeySpecification((rsa.history,))))
    assert summary.counts[State.MISSING_KEY] == 5
    left = summary.not_tried
    # In whatever order the folder is read, none is silently passed over.
    tried = 7 - summary.counts[State.READABLE] - (left.messages if left else 0)
    assert 0 <= tried <= 3


# --- dry runs, crashes, workers -----------------------------------------------------------------


def test_a_dry_run_says_what_the_real_one_will_do_and_writes_nothing(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(3)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    keys = KeySpecification((rsa.history,))
    summary = jobs.run(specify("decrypt", maildir, keys=keys, dry_run=True))
    assert counts(summary) == {State.CHECKPOINTED: 3}
    assert [one.messages for one in summary.bindings] == [3]
    assert summary.preflight is not None
    assert summary.preflight.unreadable_after_decrypting == 0
    assert summary.preflight.missing_keys == {}
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("operation", ["scan", "decrypt"])
def test_workers_find_the_same(
    operation: str, rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(5)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    spec = specify(operation, maildir, keys=KeySpecification((rsa.history,)), workers=2)
    state = State.READABLE if operation == "scan" else State.CHECKPOINTED
    summary = opening(spec)
    assert counts(summary) == {state: 5}
    assert [(one.messages, one.opened, one.is_bound) for one in summary.bindings] == [(5, 2, True)]


# Budget: 5 seconds.
@pytest.mark.parametrize("operation", ["decrypt", "rewrap"])
def test_a_run_that_is_killed_at_any_point_of_the_trials_resumes_to_the_same_end(
    operation: str, rsa: Recertified, keys: Keys, specify: Specify, tmp_path: Path, whole: bool
) -> None:
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(2)]
    messages.append(written_to(2, keys.stranger.certificate, work=tmp_path))
    place = tmp_path / "trial"
    maildir = mailbox(place / "Maildir", messages)
    trial = crash.Trial(place, whole=whole)
    history = KeySpecification((rsa.history,))
    spec = specify(operation, maildir, job=place / "job", keys=history)
    wanted = counts(jobs.run(spec))
    assert wanted[State.MISSING_KEY] == 1
    assert wanted.get(State.CHECKPOINTED, 0) + wanted.get(State.REWRAPPED, 0) == 2

    def commits(names: list[str]) -> list[int]:
        # What becomes of the mailbox afterwards is tried elsewhere.
        last = next((n for n, name in enumerate(names) if name.startswith("spool")), len(names))
        found = [n for n, name in enumerate(names[:last], 1) if name == "joblog.commit.after"]
        assert len(found) > 4
        return found

    for where in trial.kills(spec, commits):
        assert counts(jobs.run(spec)) == wanted, where
        assert len(logged(place / "job")) == 1, where


# --- tokens -------------------------------------------------------------------------------------


def test_a_key_on_a_token_is_tried_only_where_a_person_asks_for_it(
    rsa: Recertified, specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := softhsm.missing_peer():
        peer_missing(reason)
    store = softhsm.Store(tmp_path / "softhsm")
    store.directory.mkdir()
    monkeypatch.setenv("SOFTHSM2_CONF", str(store.configure()))
    monkeypatch.setenv("SECTOOL_PIN", softhsm.PIN)
    store.make("old")
    key = load_pem_private_key(rsa.older.private_key.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(rsa.newer.certificate.read_bytes())
    store.write("old", 1, key, certificate, usage=["--usage-decrypt"])
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(2)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    token = KeySpecification((), tokens=(softhsm.uri("old"),))
    asking = KeySpecification((), tokens=(softhsm.uri("old"),), try_tokens=True)
    try:
        without = jobs.run(specify("decrypt", maildir, keys=token))
        assert counts(without) == {State.MISSING_KEY: 2}
        assert without.not_tried is not None
        assert without.not_tried.on_tokens == 1
        asked = jobs.run(specify("decrypt", maildir, keys=asking))
        assert counts(asked) == {State.CHECKPOINTED: 2}
        assert asked.not_tried is None
    finally:
        softhsm.leave()


# --- what a person and a program are told ---------------------------------------------------------


def test_a_scan_says_which_key_opens_what_names_a_certificate_that_is_not_at_hand(
    rsa: Recertified, tmp_path: Path
) -> None:
    messages = [written_to(n, rsa.older.certificate, work=tmp_path) for n in range(3)]
    maildir = mailbox(tmp_path / "Maildir", messages)
    command = ["scan", str(maildir), "--keys", str(rsa.history), "--workers", "0"]
    serial = serial_of(rsa.older.certificate)
    shown = CliRunner().invoke(app, command).output
    assert (
        f"3 messages name certificate {serial} of CN=alice,O=Former Authority;"
        " key alice.key opens them"
    ) in " ".join(shown.split())
    document = parsed(CliRunner().invoke(app, [*command, "--json"]).stdout)
    (bound,) = document["bindings"]
    assert bound == {
        "issuer": "CN=alice,O=Former Authority",
        "serial_number": serial,
        "subject_key_identifier": "",
        "file": "alice.key",
        "label": bound["label"],
        "messages": 3,
        "opened": 2,
        "tried": 2,
        "bound": True,
    }
    assert "not_tried" not in document


def test_a_scan_says_nothing_of_strangers(keys: Keys, rsa: Recertified, tmp_path: Path) -> None:
    message = written_to(1, keys.stranger.certificate, work=tmp_path)
    maildir = mailbox(tmp_path / "Maildir", [message])
    command = ["scan", str(maildir), "--keys", str(rsa.history), "--workers", "0", "--json"]
    document = parsed(CliRunner().invoke(app, command).stdout)
    assert document["bindings"] == []
    assert document["counts"] == {"missing-key": 1}


def test_a_history_carries_what_was_bound_to_its_workers(rsa: Recertified, tmp_path: Path) -> None:
    history = load_key_history(KeySpecification((rsa.history,)))
    (key,) = history.keys
    bound = history.bind([Binding(RecipientKey("CN=x", "01", ""), key.public_key_digest)])
    assert KeyHistory.from_material(bound.material).bindings == bound.bindings
    foreign = history.bind([Binding(RecipientKey("CN=x", "01", ""), PublicKeyDigest("0" * 64))])
    assert foreign.bindings == frozenset()


def test_a_later_run_tries_what_an_earlier_one_had_no_operations_for(
    rsa: Recertified, specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = list(strangers(tmp_path / "strangers", 4))
    # Twice each, so that the one that opens comes last.
    messages = [
        written_to(10 * n + again, one, work=tmp_path)
        for n, one in enumerate(others)
        for again in range(2)
    ]
    messages.append(written_to(99, rsa.older.certificate, work=tmp_path, cipher="-aes-256-gcm"))
    maildir = mailbox(tmp_path / "Maildir", messages)
    monkeypatch.setattr(bindings, "RUN_OPERATIONS", 6)
    spec = specify("decrypt", maildir, keys=KeySpecification((rsa.history,)))
    first = jobs.run(spec)
    assert counts(first) == {State.MISSING_KEY: 9}
    assert first.not_tried is not None
    assert (first.not_tried.certificates, first.not_tried.messages) == (1, 1)
    second = jobs.run(spec)
    assert counts(second) == {State.MISSING_KEY: 8, State.CHECKPOINTED: 1}
    assert second.not_tried is None
    monkeypatch.setattr(bindings, "RUN_OPERATIONS", 0)
    assert jobs.run(spec).not_tried is None


def test_a_part_to_the_older_certificate_joins_its_message(
    rsa: Recertified, specify: Specify, tmp_path: Path
) -> None:
    oaep = ("-aes256", *("-recip", str(rsa.older.certificate), *OAEP))
    older = encrypt(TEXT, options=oaep)
    raw = stored(message(1, multipart(encrypt(TEXT, rsa.newer), older)))
    maildir = mailbox(tmp_path / "Maildir", [raw])
    keys = KeySpecification((rsa.history,))
    summary = jobs.run(specify("decrypt", maildir, keys=keys))
    assert (counts(summary), summary.left_parts) == ({State.CHECKPOINTED: 1}, [])
    assert len(summary.bindings) == 1
