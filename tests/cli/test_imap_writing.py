"""Commands that write to an account on a real server, or say in time why they do not."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_imap import MASTER, RIGHTS, at
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import IMAPWorld, filled, own
from tests.support.mailbox_contract import Seen

Fixture = Any

LAZY = """
mail_plugins = lazy_expunge
plugin {{
  lazy_expunge = {}
}}
"""
NAMESPACE = """
namespace expunged {
  prefix = EXPUNGED/
  separator = /
  location = maildir:~/expunged
}
"""
QUOTA = """
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage={}
}}
"""


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@contextlib.contextmanager
def serving(sample: Fixture, settings: str = "") -> Iterator[Dovecot]:
    with running_dovecot(settings=settings) as server:
        filled(server, "alice", sample.small)
        yield server
        assert server.complaints() == []


def seen(server: Dovecot) -> list[Seen]:
    with contextlib.closing(IMAPWorld(server, "alice")) as world:
        return world.seen()


def outside(mail: list[Seen]) -> Counter[str]:
    """Folder, flags and date of each, which say nothing of what is in it."""
    return Counter(f"{one.folder} {one.flags} {one.date}" for one in mail)


def test_an_account_is_moved_to_other_keys_and_back_with_all_that_lies_outside(
    sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    with serving(sample) as server:
        world = IMAPWorld(server, "alice")
        world._client.select("INBOX")
        world._client.uid("STORE", "1:3", "+FLAGS", r"(\Flagged $Forwarded Work-ABC)")
        world.close()
        before, words = seen(server), at(server)
        job = ("--job", tmp_path / "job")
        decrypted = run("decrypt", *words, *sample.history, *job, "--json").document["counts"]
        encrypted = run("encrypt", *words, "--to", sample.new, *job, "--json")
        assert encrypted.document["counts"]["reencrypted"] == decrypted["checkpointed"]
        after = seen(server)
        assert outside(after) == outside(before)
        assert sum(one not in before for one in after) == decrypted["checkpointed"]
        again = run("encrypt", "--insecure", "--workers=0", "--to", sample.new, *job, "--json")
        assert again.document["counts"] == encrypted.document["counts"]
        assert seen(server) == after
        back = run("rollback", tmp_path / "job", "--insecure", "--workers=0", "--json")
        assert back.document["counts"]["rolled-back"] == decrypted["checkpointed"]
        assert Counter(map(str, seen(server))) == Counter(map(str, before))
    assert [path.name for path in tmp_path.rglob("mail-*")] == []


@pytest.mark.parametrize(
    ("settings", "folder"),
    [(LAZY.format("Expunged"), "Expunged"), (LAZY.format("EXPUNGED/") + NAMESPACE, "EXPUNGED/")],
    ids=["a folder", "a namespace"],
)
def test_a_server_that_keeps_what_is_removed_is_noticed_after_one_message(
    settings: str, folder: str, sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    with serving(sample, settings) as server:
        words = (*at(server), *sample.history, "--to", sample.new, "--or-reencrypt")
        job = ("--job", tmp_path / "job")
        before = len(seen(server))
        stopped = run("rewrap", *words, *job)
        assert (stopped.code, stopped.is_one_error()) == (20, True), stopped.err
        assert folder in stopped.err
        assert "lazy_expunge" in stopped.err
        assert len(seen(server)) == before + 1
        if folder == "Expunged":
            skip = ("--skip-folder", folder)
        else:
            skip = ("--skip-folder", "EXPUNGED/*")
        done = run("rewrap", *words, *job, *skip, "--json")
        counts = Counter(done.document["counts"])
        assert counts["rewrapped"] + counts["reencrypted"] > 1, done.document


def test_a_quota_without_room_for_a_batch_ends_the_run_and_says_what_it_needs(
    sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    size = sum(path.stat().st_size for path in sample.small.rglob("*.host*")) // 1024
    with serving(sample, QUOTA.format(f"{size + 4}K")) as server:
        before = seen(server)
        words = (*at(server), *sample.history, "--to", sample.new, "--or-reencrypt")
        job = ("--job", tmp_path / "job")
        full = run("rewrap", *words, *job)
        assert (full.code, full.is_one_error()) == (17, True), full.err
        assert re.search(r"these are \d+ bytes, and the quota leaves \d+", full.err)
        assert len(seen(server)) == len(before)


def test_a_folder_whose_rights_do_not_let_it_be_written_is_named_and_left(
    sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    with serving(sample, MASTER + RIGHTS) as server:
        world = IMAPWorld(server, "alice")
        (mail, *_) = [one for one in world.seen() if b"pkcs7-mime" in one.raw]
        world.deliver("Shut", mail.raw)
        world.close()
        (server.maildir / ".Shut" / "dovecot-acl").write_text("owner lrsi\n")
        own(server.maildir)
        words = (*at(server), *sample.history, "--to", sample.new, "--or-reencrypt")
        done = run("rewrap", *words, "--job", tmp_path / "job", "--json")
        assert done.code == 3
        left = [one for one in done.document["not_done"] if one["folder"] == "Shut"]
        assert [one["state"] for one in left] == ["failed"]
        assert "Shut" in left[0]["reason"]
        assert "e t w" in left[0]["reason"]
        assert [one.raw for one in seen(server) if one.folder == "Shut"] == [mail.raw]


@pytest.mark.parametrize("command", ["in place", "encrypt", "rewrap"])
@pytest.mark.parametrize("capabilities", ["IMAP4rev1", "IMAP4rev1 UIDPLUS X-GM-EXT-1"])
def test_a_server_that_cannot_be_written_to_is_refused_in_one_line(
    command: str, capabilities: str, move: Fixture, sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    with serving(sample, f"imap_capability = {capabilities}\n") as server:
        url, *words = at(server)
        new, job = ("--to", sample.new), tmp_path / "new"
        asked = {
            "in place": ("decrypt", url, *sample.history, "--in-place", "--job", job),
            "encrypt": ("encrypt", url, *new, "--job", move.job),
            "rewrap": ("rewrap", url, *sample.history, *new, "--job", job),
        }
        before = seen(server)
        answer = run(*asked[command], *words)
        assert (answer.code, answer.is_one_error()) == (20, True), answer.err
        assert "UIDPLUS" in answer.err or "Gmail" in answer.err
        assert seen(server) == before


def test_what_a_move_lost_comes_back_into_a_folder_of_its_own(
    move: Fixture, sample: Fixture, run: Fixture
) -> None:
    with serving(sample) as server:
        world = IMAPWorld(server, "alice")
        lost = sum(one.folder == "INBOX" for one in world.seen())
        world._client.select("INBOX")
        world._client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
        world._client.expunge()
        world.close()
        url, *words = at(server)
        options = ("--job", move.job, "--to", sample.new, "--restore-lost", "--partial", "--json")
        done = run("encrypt", url, *words, *options)
        assert done.code in {0, 3}, done.err
        recovered = [one for one in seen(server) if one.folder == "Recovered"]
        assert 0 < len(recovered) <= lost
        again = run("encrypt", url, *words, *options)
        assert again.document["counts"] == done.document["counts"]
        assert [one for one in seen(server) if one.folder == "Recovered"] == recovered


def test_the_commands_at_the_head_of_the_page_work_as_they_stand_there(
    sample: Fixture, run: Fixture, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "imap.md").read_text(encoding="utf-8")
    lines = page.partition("```\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 5
    with serving(sample) as server:
        url, *options = at(server)
        put: dict[str, tuple[object, ...]] = {
            "imaps://alice@imap.example.org/": (url,),
            "--keys": (),
            "~/keys": sample.history,
            "~/move": (tmp_path / "job",),
            "new.pem": (sample.new,),
        }
        before = seen(server)
        for line in lines:
            words = [one for word in shlex.split(line)[1:] for one in put.get(word, (word,))]
            # The sample has mail that no key opens.
            done = run(*words, *options)
            assert done.code in {0, 3}, done.err
        assert outside(seen(server)) == outside(before)
        assert sum(one not in before for one in seen(server)) == 6
