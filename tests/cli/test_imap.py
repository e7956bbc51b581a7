"""A mailbox on a real server is read as the same mail in a Maildir is, and stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cyrus import ADMINISTRATOR, running_cyrus
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import IMAPWorld, MailServer, as_told, filled, own, url_of

Fixture = Any

MASTER = """
auth_master_user_separator = *
auth_failure_delay = 0
passdb {
  driver = static
  master = yes
  args = password=masters
}
"""
RIGHTS = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
plugin {
  acl = vfile
}
"""


def state(server: MailServer, user: str) -> list[bytes]:
    """All that the server tells of a user's mail, but for its text."""
    with contextlib.closing(IMAPWorld(server, user)) as world:
        return world.state()


USERS = ("alice", "bert", "carol")


@contextlib.contextmanager
def running(kind: str) -> Iterator[MailServer]:
    if kind == "cyrus":
        with running_cyrus(users=USERS) as cyrus:
            yield cyrus
    else:
        with running_dovecot(users=USERS, settings=MASTER) as dovecot:
            yield dovecot


@pytest.fixture(scope="module", params=["dovecot", "cyrus"])
def server(sample: Fixture, request: pytest.FixtureRequest) -> Iterator[MailServer]:
    with running(request.param) as server:
        filled(server, "alice", sample.small)
        filled(server, "bert", sample.maildir)
        yield server
        assert server.complaints() == []


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def at(server: MailServer, user: str = "alice") -> tuple[str, ...]:
    return (url_of(server, user), "--insecure", "--workers=0")


def without_place(document: dict[str, Any]) -> dict[str, Any]:
    """What a scan says of the mail, and not of where and how large it lies."""
    names = ("messages", "counts", "keys", "content_encryption_algorithms", "folders", "years")
    told = {name: document[name] for name in names}
    return {**told, "keys": sorted(map(str, told["keys"]))}


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("quick", [False, True])
def test_an_account_is_scanned_as_a_maildir_is_and_stays_as_it_is(
    quick: bool, server: MailServer, sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    words = ("--json", *sample.history, *(["--quick"] if quick else []))
    before = state(server, "bert")
    found = run("scan", *at(server, "bert"), *words)
    expected = run("scan", as_told(server, "bert", tmp_path / "same"), "--workers=0", *words)
    assert (found.code, found.document["warnings"]) == (expected.code, [])
    assert without_place(found.document) == without_place(expected.document)
    assert state(server, "bert") == before
    assert [path.name for path in tmp_path.rglob("mail-*")] == []


@pytest.mark.usefixtures("password")
def test_workers_are_given_what_was_fetched(
    server: MailServer, sample: Fixture, run: Fixture
) -> None:
    url, insecure, _ = at(server)
    found = run("scan", url, insecure, "--workers=2", "--json", *sample.history)
    assert "error" not in found.document, found.out
    assert found.document["next"] == f"sectool decrypt {url} --keys PATH --job DIR --insecure"
    assert without_place(found.document) == without_place(
        run("scan", sample.small, "--workers=0", "--json", *sample.history).document
    )


@pytest.mark.usefixtures("password")
def test_a_job_on_an_account_takes_what_is_new_and_is_verified(
    server: MailServer, sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    filled(server, "carol", sample.small)
    job, words = tmp_path / "job", (*at(server, "carol"), *sample.history, "--json")
    first = run("decrypt", *words, "--job", job)
    expected = run("status", sample.job, "--json").document
    assert (first.code, first.document["counts"]) == (3, expected["counts"])
    again = run("decrypt", *words, "--job", job).document
    assert again["counts"] == first.document["counts"]
    # What was moved within the account is found, and what was deleted is missed.
    world = IMAPWorld(server, "carol")
    refs = [line.split(b"UID ")[1].split()[0].decode() for line in world.state() if b"UID" in line]
    world._client.select("INBOX")
    world._client.uid("COPY", refs[0], "INBOX")
    world._client.create("Elsewhere")
    world._client.uid("MOVE", refs[1], "Elsewhere")
    world._client.uid("STORE", refs[2], "+FLAGS", r"(\Deleted)")
    world._client.unselect()
    verified = run("verify", job, "--insecure", "--workers=0", "--json").document
    world.close()
    assert verified["mailbox"] == f"imap://carol@127.0.0.1:{server.port}/"
    assert verified["messages"] == first.document["messages"] + 1
    assert "lost" not in verified["counts"]
    assert verified["folders"]["Elsewhere"] == 1


@pytest.mark.usefixtures("password")
def test_a_job_of_a_maildir_is_found_again_in_an_account(
    server: MailServer, move: Fixture, run: Fixture
) -> None:
    before = run("status", move.job, "--json").document["counts"]
    url, *words = at(server)
    assert run("verify", move.job, url, *words, "--json").document["counts"] == before


# --- who is let in ---------------------------------------------------------------------------


def test_a_password_comes_from_a_file_a_command_or_the_environment(
    server: MailServer, run: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("secret\nnot this\n")
    file.chmod(0o600)
    command = f"cat {file}"
    url, *words = at(server)
    for given in (("--password-file", file), ("--password-command", command)):
        assert run("scan", url, *words, *given, "-q").code == 0
    assert run("scan", url, *words).code == 19
    assert run("scan", url, *words, "--password-command", "false").code == 19
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "wrong horse")
    refused = run("scan", url, *words)
    assert (refused.code, refused.is_one_error()) == (19, True), refused.err
    assert "horse" not in refused.err
    assert run("scan", url, *words, "--password-file", file, "-q").code == 0
    traced = run("scan", url, *words, "-vv")
    assert "horse" not in traced.err


def test_a_master_user_is_let_in_for_somebody_else(
    server: MailServer,
    sample: Fixture,
    run: Fixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "masters")
    place = f"imap://127.0.0.1:{server.port}"
    words = ("--insecure", "--workers=0", "--json")
    master = "master" if isinstance(server, Dovecot) else ADMINISTRATOR
    found = [
        run("scan", place, *words, "--user", "alice", "--authuser", master),
        run("scan", url_of(server), *words, "--authuser", master),
    ]
    if isinstance(server, Dovecot):
        found.append(run("scan", place, *words, "--user", "alice*master"))
    assert {answer.code for answer in found} == {0}
    assert {answer.document["mailbox"] for answer in found} == {url_of(server)}
    assert {answer.document["messages"] for answer in found} == {10}


@pytest.mark.usefixtures("password")
def test_a_server_that_lets_a_person_in_only_once_at_a_time_is_read_all_the_same(
    sample: Fixture, run: Fixture
) -> None:
    with running_dovecot(settings=MASTER + "mail_max_userip_connections = 1\n") as strict:
        filled(strict, "alice", sample.small)
        found = run("scan", *at(strict), *sample.history, "--connections=4", "--json")
    assert found.code == 0, found.err or found.document
    assert without_place(found.document) == without_place(
        run("scan", sample.small, "--workers=0", "--json", *sample.history).document
    )


@pytest.fixture
def guarded(sample: Fixture) -> Iterator[Dovecot]:
    with running_dovecot(settings=MASTER + RIGHTS) as running:
        filled(running, "alice", sample.small)
        yield running


def test_a_folder_that_may_not_be_read_is_named_and_nothing_is_concluded_from_it(
    guarded: Dovecot, sample: Fixture, run: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    world = IMAPWorld(guarded, "alice")
    for folder in ("Archive", "Other"):
        world.deliver(folder, b"Subject: x\n\n" + folder.encode() + b"\n")
    world.close()
    job, words = tmp_path / "job", (*at(guarded), *sample.history, "--json")
    assert run("decrypt", *words, "--job", job).document["folders"]["Archive"] == 1
    for rights in ("owner lk\n", "owner k\n"):
        acl = guarded.maildir / ".Archive" / "dovecot-acl"
        acl.write_text(rights)
        own(guarded.maildir)
        scanned = run("scan", *words)
        shown = "l" in rights
        assert scanned.document["messages"] == 11
        told = [warning["message"] for warning in scanned.document["warnings"]]
        assert any("Archive" in text for text in told) == shown
    # The owner themselves would have to be asked where a folder went that is not shown at all.
    acl.write_text("owner lk\n")
    for command in (("decrypt", *words, "--job", job), ("verify", job, *words[1:3], "--json")):
        refused = run(*command)
        assert refused.code == 20, refused.out
        assert "Archive" in refused.document["error"]["message"]
    acl.unlink()
    assert run("verify", job, *words[1:3], "--json").document["folders"]["Archive"] == 1


def test_an_account_that_a_master_user_may_not_see_is_not_taken_for_empty(
    guarded: Dovecot, run: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "masters")
    answer = run("scan", *at(guarded), "--authuser", "master")
    assert answer.code == 20, answer.err
    assert "acl_user" in answer.err.splitlines()[-1]
