"""A job on an account whose server goes away, or gives all its mail other numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import ServerUnavailable
from sectool.keys import KeySpecification
from sectool.mailbox import Account, retrying
from sectool.outcome import State
from tests.support.imap_server import Server
from tests.support.mailboxes import Keys, Mail

FOLDERS = {"": "INBOX", ".Sent": "Sent"}


@pytest.fixture
def server(sample: list[Mail], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setattr(retrying, "WAITS", (0.0,) * 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    folders: dict[str, dict[int, bytes]] = {"INBOX": {}, "Sent": {}}
    for uid, mail in enumerate(sample, 1):
        folders[FOLDERS[mail.folder]][uid] = mail.raw.replace(b"\n", b"\r\n")
    with Server(folders=folders).running() as running:
        yield running


def decrypted(server: Server, keys: Keys, tmp_path: Path) -> dict[State, int]:
    spec = jobs.Decrypt(
        mailbox=f"imap://alice@localhost:{server.port}/",
        account=Account(insecure=True),
        keys=KeySpecification((keys.history,)),
        job=tmp_path / "job",
        workers=0,
    )
    return dict(jobs.run(spec).counts)


def test_a_run_that_loses_its_server_is_gone_on_with_by_the_next(
    server: Server, keys: Keys, tmp_path: Path
) -> None:
    expected = decrypted(server, keys, tmp_path / "other")
    assert expected[State.CHECKPOINTED] == 5
    for place in range(200, 8000, 900):
        server.cuts[:] = [place, *([100] * 20)]
        with pytest.raises(ServerUnavailable) as lost:
            decrypted(server, keys, tmp_path)
        assert lost.value.exit_code == 18
    server.cuts.clear()
    assert decrypted(server, keys, tmp_path) == expected
    assert [path.name for path in tmp_path.rglob("mail-*")] == []


def test_a_run_outlasts_a_server_that_comes_back(
    server: Server, keys: Keys, tmp_path: Path
) -> None:
    expected = decrypted(server, keys, tmp_path / "other")
    server.cuts[:] = [300, 1200, 2100, 900]
    assert decrypted(server, keys, tmp_path) == expected
    assert server.cuts == []


def test_mail_with_other_numbers_is_the_same_mail(
    server: Server, keys: Keys, tmp_path: Path
) -> None:
    expected = decrypted(server, keys, tmp_path)
    server.validity = 8
    server.folders = {
        folder: {uid + 90: raw for uid, raw in mail.items()}
        for folder, mail in server.folders.items()
    }
    assert decrypted(server, keys, tmp_path) == expected
    spec = jobs.Verify(job=tmp_path / "job", account=Account(insecure=True), workers=0)
    assert dict(jobs.run(spec).counts) == expected


def test_no_more_of_a_message_is_asked_for_once_it_is_known(
    server: Server, keys: Keys, tmp_path: Path
) -> None:
    expected = decrypted(server, keys, tmp_path)
    server.said.clear()
    assert decrypted(server, keys, tmp_path) == expected
    texts = [line for line in server.said if b"BODY.PEEK" in line]
    # What was missing a key, or damaged, is done with as well.
    assert texts == []
