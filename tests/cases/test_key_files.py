"""Key files of the cases, each with the right answer of the table in README.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import run_app
from sectool.keys import load_key_history, load_new_recipients
from sectool.keys.specification import KeySpecification
from tests.support.documents import parsed

CASES = Path(__file__).parent
RSA, EC = CASES / "key-rsa-encoding", CASES / "key-ec-encoding"
BAGS, STORES = CASES / "p7b-certificates", CASES / "keystore-words"
NOW = datetime(2027, 1, 1, tzinfo=UTC)

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command with ``--json``: its exit code, its document, and what it said besides."""
    monkeypatch.delenv("SECTOOL_PASSPHRASE", raising=False)

    def call(*words: object) -> tuple[int, dict[str, Any], str]:
        capfd.readouterr()
        code = run_app([*map(str, words), "--json"])
        said = capfd.readouterr()
        return code, parsed(said.out), said.err

    return call


@pytest.fixture
def mailbox(tmp_path: Path) -> Callable[[Path], Path]:
    """A Maildir with one of the messages in it."""

    def made(message: Path) -> Path:
        place = tmp_path / "Maildir"
        for name in ("cur", "new", "tmp"):
            (place / name).mkdir(parents=True)
        (place / "cur" / "1700000000.1.host:2,S").write_bytes(message.read_bytes())
        return place

    return made


ODD_KEYS = {
    f"{case.name}, {name}, {file}": (case / f"{name}.eml", case / "k" / name / file)
    for case, names in (
        (RSA, ("control", "bad-qi", "bc-nocrt", "trail")),
        (EC, ("ec-control", "ec-compressed")),
    )
    for name in names
    for file in ("k.pem", "p.p12")
}


@pytest.mark.parametrize(("message", "keys"), ODD_KEYS.values(), ids=ODD_KEYS)
def test_an_oddly_written_key_opens_its_mail(
    message: Path, keys: Path, run: Run, mailbox: Callable[[Path], Path]
) -> None:
    passphrase = keys.parents[2] / "pass"
    code, document, _ = run(
        *("scan", mailbox(message), "--workers=0"),
        *("--keys", keys, "--passphrase-file", passphrase),
    )
    assert (code, document["counts"]) == (0, {"readable": 1})


@pytest.mark.parametrize("name", ["normal", "leading00", "unused2"])
def test_an_oddly_written_elliptic_curve_key_has_its_certificate(name: str) -> None:
    folder = EC / "eckeys"
    history = load_key_history(KeySpecification((folder / f"{name}.der", folder / "oldec.pem")))
    assert [entry.serial_number for entry in history.entries] == ["1002"]


def test_a_scalar_without_its_leading_zero_loads() -> None:
    """Its key is another one than that of the certificate, so it stands without."""
    history = load_key_history(KeySpecification((EC / "eckeys" / "stripped.der",)))
    assert [entry.algorithm for entry in history.entries] == ["EC secp256r1"]


@pytest.mark.parametrize("bag", ["old.p7b", "old-pem.p7b"])
def test_a_bag_gives_its_certificate_to_the_key(
    bag: str, run: Run, mailbox: Callable[[Path], Path]
) -> None:
    key = BAGS / "keys" / "old.key"
    place = mailbox(BAGS / "plainenv.eml")
    code, document, _ = run("scan", place, "--workers=0", "--keys", key, "--keys", BAGS / bag)
    assert (code, document["counts"]) == (0, {"readable": 1})
    code, document, _ = run("scan", place, "--workers=0", "--keys", key)
    assert (code, document["counts"]) == (0, {"missing-key": 1})


@pytest.mark.parametrize("bag", ["old.p7b", "old-pem.p7b"])
def test_the_certificate_of_a_bag_is_encrypted_to(bag: str) -> None:
    (recipient,) = load_new_recipients([BAGS / bag], NOW)
    (alone,) = load_new_recipients([BAGS / "keys" / "old.pem"], NOW)
    assert recipient.fingerprint == alone.fingerprint


def test_a_key_in_utf_16_opens_its_mail(run: Run, mailbox: Callable[[Path], Path]) -> None:
    code, document, _ = run(
        *("scan", mailbox(STORES / "plainenv.eml"), "--workers=0"),
        *("--keys", STORES / "k" / "utf16.pem"),
    )
    assert (code, document["counts"]) == (0, {"readable": 1})


@pytest.mark.parametrize("kind", ["bks", "uber", "bcfks"])
def test_a_key_store_of_bouncy_castle_is_named_with_its_command(kind: str, run: Run) -> None:
    store = STORES / "k" / f"ks.{kind}"
    code, document, _ = run("keys", store)
    assert code == 2
    assert f"({kind.upper()})" in document["error"]["message"]
    assert document["error"]["hint"].startswith(f"keytool -importkeystore -srckeystore {store} ")
    assert f"-srcstoretype {kind.upper()} " in document["error"]["hint"]


SHUT = ("--keys", STORES / "k" / "ks.bks", "--keys", EC / "eckeys" / "normal.der")


@pytest.mark.parametrize("command", [("scan", "--check"), ("decrypt", "--dry-run")], ids=" ".join)
def test_a_run_ends_with_12_where_a_key_may_lie_in_a_file_that_stays_shut(
    command: tuple[str, ...], run: Run, mailbox: Callable[[Path], Path]
) -> None:
    place = mailbox(STORES / "plainenv.eml")
    code, document, _ = run(*command, place, "--workers=0", *SHUT)
    assert (code, document["counts"]) == (12, {"missing-key": 1})
    assert [Path(entry["file"]).name for entry in document["shut_key_files"]] == ["ks.bks"]


def test_a_shut_file_is_a_warning_where_no_mail_misses_a_key(
    run: Run, mailbox: Callable[[Path], Path]
) -> None:
    place = mailbox(STORES / "plainenv.eml")
    key = STORES / "k" / "utf16.pem"
    code, document, said = run("scan", place, "--workers=0", *SHUT, "--keys", key)
    assert (code, document["counts"]) == (0, {"readable": 1})
    assert "shut_key_files" not in document
    assert "warning" in said
    assert "ks.bks" in said
