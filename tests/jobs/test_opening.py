"""Mail that keys alone do not open: by secrets, by keys nothing names, by a person's word."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import NotDone
from tests.support.agreements import Static, originator_info
from tests.support.forge import Forge, Holder, make_holder, make_person
from tests.support.mailboxes import INNER, Keys, Mail, encrypted, fill, openssl
from tests.support.specifications import Specify

KEK = bytes(range(32))


def sealed(*options: str, inner: bytes = INNER % 1, work: Path) -> bytes:
    """A message that openssl encrypted by other means than a certificate."""
    source = work / "inner"
    source.write_bytes(inner)
    smime = openssl("cms", "-encrypt", "-binary", "-aes256", *options, "-in", source)
    return smime.replace(b"\r\n", b"\n").replace(b"\n", b"\nMessage-ID: <x@example.org>\n", 1)


def mailbox(work: Path, *messages: bytes) -> Path:
    maildir = work / "Maildir"
    mail = [
        Mail("", f"cur/13000000{number:02}.M{number}P1.host:2,", raw)
        for number, raw in enumerate(messages)
    ]
    fill(maildir, mail)
    return maildir


@pytest.fixture
def bare(keys: Keys, tmp_path: Path) -> Path:
    """The old key without its certificate."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "old.key").write_bytes(keys.old.private_key.read_bytes())
    return folder


BY_KEY = ("-secretkey", KEK.hex(), "-secretkeyid", "6c697374")
SECRETS = {
    "shared key": (BY_KEY, f"key,6c697374,{KEK.hex()}"),
    "shared key without a name": (BY_KEY, f"key,,{KEK.hex()}"),
    "password": (("-pwri_password", "open sesame"), "password,,open sesame"),
}


@pytest.mark.parametrize(("options", "row"), SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("operation", ["scan", "decrypt"])
def test_a_secret_that_the_user_supplies_opens_mail(
    operation: str, options: tuple[str, ...], row: str, keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    maildir = mailbox(tmp_path, sealed(*options, work=tmp_path), encrypted(2, keys.old))
    table = tmp_path / "secrets.csv"
    without = jobs.run(specify(operation, maildir))
    (missing,) = without.not_done
    assert missing.state is State.MISSING_KEY
    assert "no shared secret for any recipient" in missing.reason
    table.write_text(f"password,,wrong\n{row}\n", encoding="utf-8")
    history = KeySpecification((keys.history,), secrets=table)
    opened = jobs.run(specify(operation, maildir, keys=history))
    state = State.READABLE if operation == "scan" else State.CHECKPOINTED
    assert opened.counts == {state: 2}


def test_a_secret_added_to_its_table_later_is_tried(
    keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    maildir = mailbox(tmp_path, sealed("-pwri_password", "open sesame", work=tmp_path))
    table = tmp_path / "secrets.csv"
    history = KeySpecification((keys.history,), secrets=table)
    table.write_text("password,,wrong\n", encoding="utf-8")
    (missing,) = jobs.run(specify("decrypt", maildir, keys=history)).not_done
    assert "none that was given fits" in missing.reason
    table.write_text("password,,open sesame\n", encoding="utf-8")
    opened = jobs.run(specify("decrypt", maildir, keys=history))
    assert opened.counts == {State.CHECKPOINTED: 1}


def test_no_secret_enters_the_job_directory(keys: Keys, specify: Specify, tmp_path: Path) -> None:
    maildir = mailbox(tmp_path, sealed("-pwri_password", "open sesame", work=tmp_path))
    table = tmp_path / "secrets.csv"
    table.write_text("password,,open sesame\n", encoding="utf-8")
    jobs.run(specify("decrypt", maildir, keys=KeySpecification((keys.history,), secrets=table)))
    files = [path for path in (tmp_path / "job").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sesame" in path.read_bytes()]


@pytest.mark.parametrize("options", [("-aes256",), ("-aes-128-gcm",)], ids=["CBC", "GCM"])
@pytest.mark.parametrize("operation", ["scan", "decrypt"])
def test_a_key_without_certificate_opens_only_with_try_keys(
    operation: str,
    options: tuple[str, ...],
    keys: Keys,
    bare: Path,
    specify: Specify,
    tmp_path: Path,
) -> None:
    """B84."""
    inner = INNER % 1 + b"and that is all there is to say\r\n" * 3
    to_old = (*options, "-recip", str(keys.old.certificate))
    maildir = mailbox(tmp_path, sealed(*to_old, inner=inner, work=tmp_path))
    without = jobs.run(specify(operation, maildir, keys=KeySpecification((bare,))))
    assert without.counts == {State.MISSING_KEY: 1}
    trying = KeySpecification((bare,), try_keys=True)
    state = State.READABLE if operation == "scan" else State.CHECKPOINTED
    assert jobs.run(specify(operation, maildir, keys=trying)).counts == {state: 1}


def test_short_mail_that_nothing_proves_is_for_a_person_where_keys_are_tried(
    keys: Keys, bare: Path, specify: Specify, tmp_path: Path
) -> None:
    maildir = mailbox(tmp_path, encrypted(1, keys.old))
    spec = specify("scan", maildir, keys=KeySpecification((bare,), try_keys=True))
    summary = jobs.run(spec)
    assert summary.counts == {State.REVIEW: 1}
    assert "it is short, and no recipient names the key" in summary.not_done[0].reason


def test_try_keys_says_missing_key_where_none_fits(
    keys: Keys, bare: Path, specify: Specify, tmp_path: Path
) -> None:
    maildir = mailbox(
        tmp_path, *(encrypted(n, keys.stranger, options=("-aes256",)) for n in range(5))
    )
    spec = specify("scan", maildir, keys=KeySpecification((bare,), try_keys=True))
    assert jobs.run(spec).counts == {State.MISSING_KEY: 5}


# --- review -------------------------------------------------------------------------


@pytest.fixture
def odd(keys: Keys, tmp_path: Path) -> Path:
    """A mailbox with two messages whose plaintext has no header (B72)."""
    messages = []
    for number in (1, 2):
        inner = b"Dear Bob,\r\n\r\nsee you %d.\r\n" % number * 9
        messages.append(sealed("-recip", str(keys.old.certificate), inner=inner, work=tmp_path))
    return mailbox(tmp_path, *messages)


def digest_to_give(entry: NotDone) -> str:
    return entry.reason.rpartition("--accept ")[2]


def test_a_message_for_review_is_released_by_the_digest_in_the_report(
    odd: Path, specify: Specify, tmp_path: Path
) -> None:
    """B72."""
    before = jobs.run(specify("decrypt", odd))
    assert before.counts == {State.REVIEW: 2}
    digest = digest_to_give(before.not_done[0])
    after = jobs.run(specify("decrypt", odd, released=frozenset({digest})))
    assert after.counts == {State.REVIEW: 1, State.CHECKPOINTED: 1}
    assert (tmp_path / "job" / "checkpoints" / f"{digest}.eml").is_file()
    again = jobs.run(specify("decrypt", odd))
    assert again.counts == {State.REVIEW: 1, State.CHECKPOINTED: 1}


def test_the_log_says_what_a_person_released(odd: Path, specify: Specify, tmp_path: Path) -> None:
    digest = digest_to_give(jobs.run(specify("decrypt", odd)).not_done[0])
    jobs.run(specify("decrypt", odd, released=frozenset({digest})))
    with sqlite3.connect(f"file:{tmp_path / 'job' / 'job.db'}?mode=ro", uri=True) as log:
        names = [name for (name,) in log.execute("SELECT name FROM step ORDER BY step")]
    log.close()
    assert names.count(f"accepted {digest}") == 1


def test_a_scan_with_the_digest_shows_what_a_release_would_give(
    odd: Path, specify: Specify
) -> None:
    digests = frozenset(map(digest_to_give, jobs.run(specify("scan", odd)).not_done))
    assert jobs.run(specify("scan", odd, released=digests)).counts == {State.READABLE: 2}


def agreed(someone: Holder, static: Static, name: bytes, *, before: bytes = b"") -> bytes:
    """A stored message whose sender's own key took part in encrypting it."""
    recipients = [static.make(someone, name)]
    raw = Forge(make_person("nobody")).cbc(INNER % 1, recipients=recipients, before=before)
    fields = b"From: a@example.org\nContent-Type: application/pkcs7-mime\n"
    return fields + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(raw)


@pytest.mark.parametrize("where", ["beside the keys", "among the keys", "in the message"])
@pytest.mark.parametrize("by", ["issuer and serial number", "subject key identifier"])
@pytest.mark.parametrize("workers", [0, 1])
def test_mail_opens_whose_sender_is_named_by_a_certificate(
    by: str, where: str, workers: int, specify: Specify, tmp_path: Path
) -> None:
    someone, static = make_holder("p-256"), Static(make_holder("p-256", "sender"))
    history = tmp_path / "history"
    history.mkdir()
    (history / "mine.pem").write_bytes(someone.pem())
    if where == "among the keys":
        (history / "sender.pem").write_bytes(static.sender.pem())
    elif where == "beside the keys":
        (history / "sender.crt").write_bytes(static.certificate)
    name = static.by_issuer if by.startswith("issuer") else static.by_key_identifier
    before = originator_info(static.certificate) if where == "in the message" else b""
    maildir = mailbox(tmp_path, agreed(someone, static, name, before=before))
    spec = specify("decrypt", maildir, keys=KeySpecification((history,)), workers=workers)
    assert jobs.run(spec).counts == {State.CHECKPOINTED: 1}


def test_mail_whose_sender_has_no_certificate_here_says_what_to_do(
    specify: Specify, tmp_path: Path
) -> None:
    someone, static = make_holder("p-256"), Static(make_holder("p-256", "sender"))
    (tmp_path / "mine.pem").write_bytes(someone.pem())
    maildir = mailbox(tmp_path, agreed(someone, static, static.by_issuer))
    history = KeySpecification((tmp_path / "mine.pem",))
    (entry,) = jobs.run(specify("decrypt", maildir, keys=history)).not_done
    assert entry.state is State.UNSUPPORTED
    assert "sender's certificate" in entry.reason
