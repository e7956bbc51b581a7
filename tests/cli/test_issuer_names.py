"""One issuer has one name, whatever command tells it: of a key, of mail, out of the job log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.checker import Key
from tests.support.mailboxes import Mail, encrypted, fill, make_key, openssl

Fixture = Any
AUTHORITY = "/O=Äther, Brown\\+Sons/CN=Post #1/emailAddress=ca@example.org"
SHOWN = "emailAddress=(address),CN=Post #1,O=Äther\\, Brown\\+Sons"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Key:
    directory = tmp_path_factory.mktemp("odd")
    key = Key(directory / "owner.crt", directory / "owner.key")
    openssl(
        *("req", "-x509", "-utf8", "-newkey", "rsa:1024", "-nodes", "-subj", AUTHORITY),
        *("-addext", "keyUsage=keyEncipherment", "-days", "3650"),
        *("-addext", "subjectAltName=email:alice@example.org"),
        *("-keyout", key.private_key, "-out", key.certificate),
    )
    return key


def issuers(value: Any) -> Iterator[str]:
    """Every issuer that a document names."""
    if isinstance(value, dict):
        yield from (text for name, text in value.items() if name == "issuer" and text)
        yield from (found for member in value.values() for found in issuers(member))
    elif isinstance(value, list):
        yield from (found for member in value for found in issuers(member))


def test_every_command_names_an_issuer_alike_and_finds_its_mail(
    run: Fixture, owner: Key, tmp_path: Path
) -> None:
    maildir, job = tmp_path / "Maildir", tmp_path / "job"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, owner))])
    new = make_key(tmp_path, "new")
    old = (owner.certificate, owner.private_key)
    keys = ("--keys", old[0], "--keys", old[1])

    seen = run("keys", *old, "--mailbox", maildir, "--workers=0", "--json").document
    assert [entry["messages"] for entry in seen["keys"]] == [1]
    here = ("--new-keys", old[0], "--new-keys", old[1])
    scanned = run("scan", maildir, *keys, *here, "--workers=0", "--json").document
    assert scanned["preflight"]["safe_to_move"]
    told = [seen, scanned, run("scan", maildir, "--workers=0", "--json").document]
    told.append(run("decrypt", maildir, *keys, "--job", job, "--workers=0", "--json").document)
    to = ("--to", new.certificate, "--workers=0", "--json")
    told.append(run("encrypt", "--job", job, *to).document)
    proof = ("--verify-keys", new.certificate, "--verify-keys", new.private_key)
    retire = ("--retire", old[0], "--retire", old[1])
    told.append(run("verify", job, *proof, *retire, "--workers=0", "--json").document)
    told.append(run("status", job, "--json").document)
    for document in told:
        assert set(issuers(document)) == {SHOWN}

    tables = [run("scan", maildir, "--workers=0").out, run("status", job).out]
    tables.append(run("verify", job, *proof, *retire, "--workers=0").out)
    tables.append(run("keys", *old).out)
    lines = [line for table in tables for line in table.splitlines()]
    assert not any("1.2.840.113549" in line for line in lines)
