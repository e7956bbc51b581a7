"""The verdict and what comes next are what the mailbox is, as openssl sees it."""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import run_app
from sectool.cli.shell import envelope
from tests.support import checker
from tests.support.checker import Key
from tests.support.documents import parsed
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, make_key, openssl

Fixture = Any
Run = Callable[..., dict[str, Any]]

WHOLE = 6
"""Encrypted messages of the mailbox that open."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: make_key(directory, name) for name in ("old", "other", "new")}


def named(option: str, key: Key) -> list[str]:
    return [option, str(key.certificate), option, str(key.private_key)]


@pytest.fixture
def maildir(tmp_path: Path, keys: dict[str, Key]) -> Path:
    mail = [
        Mail("", f"cur/130000000{number}.M1P1.host:2,S", encrypted(number, keys["old"]))
        for number in range(WHOLE)
    ]
    mail.append(Mail("", "cur/1300000009.M1P1.host:2,S", CLEAR))
    fill(tmp_path / "Maildir", mail)
    return tmp_path / "Maildir"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object, code: int = 0) -> dict[str, Any]:
        capfd.readouterr()
        assert run_app([*map(str, words), "--workers=0", "--json", "-q"]) == code
        answer: dict[str, Any] = parsed(capfd.readouterr().out)
        return answer

    return call


def opening(maildir: Path, key: Key) -> int:
    """How many messages openssl opens with a key."""
    mail = [one.raw for one in checker.stored_mail(maildir)]
    envelopes = [envelope for raw in mail for envelope in checker.envelopes(raw)]
    return sum(checker.opened(envelope, key) is not None for envelope in envelopes)


def damage(maildir: Path, number: int) -> None:
    """Changes the encrypted content of a message, so that the key it names does not open it."""
    (path,) = maildir.glob(f"cur/130000000{number}*")
    header, gap, body = path.read_bytes().partition(b"\n\n")
    lines = body.strip().split(b"\n")
    lines[-2] = lines[-2].swapcase()
    del lines[-1]
    path.write_bytes(header + gap + b"\n".join(lines) + b"\n")


# --- decrypt --------------------------------------------------------------------------------


def test_the_move_comes_next_only_where_all_mail_was_decrypted(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    words = ("decrypt", maildir, "--job", tmp_path / "job", *named("--keys", keys["old"]))
    part = run(*words, "--limit", 2)
    assert part["next"].startswith("the same command without --limit")
    assert "2 messages decrypted" in part["verdict"]["text"]
    assert "5 messages left out" in part["verdict"]["text"]
    assert not part["verdict"]["good"]
    whole = run(*words)
    assert whole["next"].startswith("move the mailbox, then: sectool encrypt NEWPLACE --job ")
    assert whole["verdict"] == {"good": True, "text": f"{WHOLE} messages decrypted"}
    assert opening(maildir, keys["old"]) == WHOLE


def test_no_move_comes_next_after_a_message_that_does_not_open(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    damage(maildir, 3)
    assert opening(maildir, keys["old"]) == WHOLE - 1
    words = ("decrypt", maildir, "--job", tmp_path / "job", *named("--keys", keys["old"]))
    answer = run(*words, code=3)
    assert "move" not in answer["next"]
    assert "--acknowledge" in answer["next"]
    assert answer["verdict"]["text"] == f"{WHOLE - 1} messages decrypted; 1 message not done"


def test_no_move_comes_next_while_a_key_file_stays_shut(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    path = maildir / "cur" / "1300000008.M1P1.host:2,S"
    path.write_bytes(encrypted(8, keys["other"]))
    shut = tmp_path / "other.p12"
    key = keys["other"]
    openssl(
        *("pkcs12", "-export", "-in", key.certificate, "-inkey", key.private_key),
        *("-out", shut, "-passout", "pass:secret"),
    )
    words = ("decrypt", maildir, "--job", tmp_path / "job", *named("--keys", keys["old"]))
    answer = run(*words, "--keys", shut, code=12)
    assert answer["next"].startswith(f"open {shut}: ")
    assert "--passphrase-file" in answer["next"]


def test_no_move_comes_next_where_a_folder_was_passed_over(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("cur", "new", "tmp"):
        (tmp_path / "elsewhere" / name).mkdir()
    (maildir / ".Linked").symlink_to(tmp_path / "elsewhere")
    words = ("decrypt", maildir, "--job", tmp_path / "job", *named("--keys", keys["old"]))
    answer = run(*words)
    assert answer["passed_over"] == 1
    assert answer["next"].startswith("look at what was passed over")
    assert "1 place passed over" in answer["verdict"]["text"]


# --- encrypt and verify ---------------------------------------------------------------------


@pytest.fixture
def job(run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path) -> Path:
    job = tmp_path / "job"
    run("decrypt", maildir, "--job", job, *named("--keys", keys["old"]))
    return job


def test_verify_says_in_figures_what_the_new_key_opens(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key]
) -> None:
    new = named("--verify-keys", keys["new"])
    before = run("verify", job)
    assert before["verdict"]["text"] == (
        f"all {WHOLE} decrypted messages are here, none is encrypted yet"
    )
    assert run("verify", job, *new, code=3)["verdict"]["text"].startswith(f"0 of {WHOLE} proven")

    run("encrypt", "--job", job, "--to", keys["new"].certificate, "--limit", 2)
    assert opening(maildir, keys["new"]) == 2
    part = run("verify", job, *new, code=3)
    assert part["verdict"]["text"] == f"2 of {WHOLE} proven with the new key; 4 not yet encrypted"
    assert part["next"].startswith("sectool encrypt --job ")
    unopened = run("verify", job, code=3)
    assert "this run opened nothing, so it is no proof" in unopened["verdict"]["text"]

    run("encrypt", "--job", job, "--to", keys["new"].certificate)
    assert opening(maildir, keys["new"]) == WHOLE
    whole = run("verify", job, *new)
    assert whole["verdict"] == {"good": True, "text": f"{WHOLE} of {WHOLE} proven with the new key"}
    assert whole["next"].startswith("sectool purge ")


def test_encrypt_says_what_lies_there_still_and_what_proves_and_removes_it(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key]
) -> None:
    answer = run("encrypt", "--job", job, "--to", keys["new"].certificate)
    text = answer["verdict"]["text"]
    assert f"{WHOLE} messages encrypted to the new keys; none opened with the new key yet" in text
    assert re.search(
        f"the job still holds {WHOLE} checkpoints in clear .* and {WHOLE} origin", text
    )
    assert answer["originals"] == WHOLE == len(list((job / "originals").rglob("*.eml")))
    assert answer["next"].startswith(f"sectool verify {job} --verify-keys ")
    proven = run(
        *("encrypt", "--job", job, "--to", keys["new"].certificate),
        *named("--verify-keys", keys["new"]),
    )
    assert proven["next"].startswith(f"sectool purge {job}")
    purged = run("purge", job)
    assert (purged["originals"], purged["plaintext"]["checkpoints"]) == (0, 0)
    assert opening(maildir, keys["new"]) == WHOLE


def test_rewrap_says_the_same(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    words = ("rewrap", maildir, *named("--keys", keys["old"]), "--to", keys["new"].certificate)
    dry = run(*words, "--dry-run")
    assert f"{WHOLE} messages would get the new recipients" in dry["verdict"]["text"]
    assert (dry["phase"], dry["finished"], dry["dry_run"]) == ("", False, "rewrap")
    assert opening(maildir, keys["new"]) == 0
    real = run(*words, "--job", tmp_path / "job")
    assert f"the job still holds {WHOLE} originals" in real["verdict"]["text"]
    assert opening(maildir, keys["new"]) == WHOLE


@pytest.mark.parametrize(
    ("command", "would"),
    [
        ("encrypt", f"{WHOLE} messages would be encrypted"),
        ("rollback", f"{WHOLE} messages would be put back"),
        ("purge", f"{WHOLE} checkpoints and {WHOLE} originals would be removed"),
        ("verify", f"{WHOLE} of {WHOLE} proven"),
    ],
)
def test_a_dry_run_says_would_and_claims_no_phase(
    command: str, would: str, run: Run, maildir: Path, job: Path, keys: dict[str, Key]
) -> None:
    to = ("--to", keys["new"].certificate)
    if command != "encrypt":
        proof = named("--verify-keys", keys["new"])
        run("encrypt", "--job", job, *to, *proof)
    before = checker.census(maildir)
    words = ("encrypt", "--job", job, *to) if command == "encrypt" else (command, job)
    answer = run(*words, "--dry-run")
    assert would in answer["verdict"]["text"]
    assert answer["verdict"]["text"].startswith("dry run, nothing was written; ")
    assert (answer["phase"], answer["dry_run"], answer["finished"]) == ("", command, False)
    assert checker.census(maildir) == before


# --- what is lost ---------------------------------------------------------------------------


def test_clear_mail_that_its_owner_deleted_where_it_lay_is_no_loss(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key]
) -> None:
    (maildir / "cur" / "1300000009.M1P1.host:2,S").unlink()
    assert run("verify", job)["counts"] == {"checkpointed": WHOLE}
    answer = run("encrypt", "--job", job, "--to", keys["new"].certificate)
    assert answer["counts"] == {"reencrypted": WHOLE}


def test_clear_mail_that_a_move_dropped_is_lost_and_told_apart(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(maildir, moved)
    (moved / "cur" / "1300000009.M1P1.host:2,S").unlink()
    (moved / "cur" / "1300000000.M1P1.host:2,S").unlink()
    encrypt = ("encrypt", moved, "--job", job, "--to", keys["new"].certificate)
    answer = run(*encrypt, code=3)
    assert answer["counts"]["lost"] == 2
    assert answer["lost_in_clear"] == 1
    text = answer["verdict"]["text"]
    assert "1 message lost: of the job, and not in the mailbox" in text
    assert "1 message that never was encrypted is not here; sectool has no copy of it" in text
    assert "--restore-lost" in answer["next"]
    assert "--accept-lost" in answer["next"]
    assert sorted(entry["reason"] for entry in answer["not_done"]) == [
        "it is not in the mailbox",
        "it never was encrypted and is not in the mailbox; sectool has no copy of it",
    ]
    assert run("verify", job, moved, code=3)["lost_in_clear"] == 1
    assert run(*encrypt, "--restore-lost", code=3)["counts"]["lost"] == 1
    assert opening(moved, keys["new"]) == WHOLE
    assert "lost" not in run(*encrypt, "--accept-lost")["counts"]
    run("verify", job, moved)


def test_decrypting_again_after_a_move_forgives_nothing_that_the_move_dropped(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(maildir, moved)
    for number in (0, 9):
        (moved / "cur" / f"130000000{number}.M1P1.host:2,S").unlink()
    assert run("verify", job, moved, code=3)["counts"]["lost"] == 2
    words = ("decrypt", moved, "--job", job, *named("--keys", keys["old"]))
    for _ in range(2):
        assert run(*words, code=3)["counts"]["lost"] == 2


# --- where it is said -----------------------------------------------------------------------


def test_quiet_says_the_verdict_where_the_code_is_not_0(
    maildir: Path, job: Path, keys: dict[str, Key], capfd: pytest.CaptureFixture[str]
) -> None:
    new = named("--verify-keys", keys["new"])
    capfd.readouterr()
    assert run_app(["verify", str(job), *new, "--workers=0", "--quiet"]) == 3
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"sectool: verdict: 0 of {WHOLE} proven with the new key")
    assert run_app(["verify", str(job), "--workers=0", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_verbose_tells_what_becomes_of_each_message(
    maildir: Path, job: Path, keys: dict[str, Key], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    words = ["encrypt", "--job", str(job), "--to", str(keys["new"].certificate), "--workers=0"]
    assert run_app([*words, "-v"]) == 0
    told = [line for line in capfd.readouterr().err.splitlines() if ": reencrypted" in line]
    assert len(told) == WHOLE == opening(maildir, keys["new"])
    assert all(line.startswith("sectool: INBOX/") for line in told)


def test_events_are_told_while_a_run_is_on_and_name_nobody(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    events = tmp_path / "events"
    encrypt = ("encrypt", "--job", job, "--to", keys["new"].certificate, "--json-lines", events)
    run(*encrypt, "--limit", 2)
    run(*encrypt)
    text = events.read_text()
    told = [json.loads(out) for out in text.splitlines()]
    assert [one["event"] for one in told].count("begin") == 2
    done = [one for one in told if one["event"] == "message" and one["state"] == "reencrypted"]
    assert len({one["identity"] for one in done}) == WHOLE
    assert told[-1]["event"] == "summary"
    assert told[-1]["counts"] == {"clear": 1, "reencrypted": WHOLE}
    assert "@" not in text
    assert "Subject" not in text
    assert "message 1" not in text
    assert stat.S_IMODE(events.stat().st_mode) == 0o600


def test_events_end_with_the_error_that_ended_the_run(
    run: Run, job: Path, keys: dict[str, Key], tmp_path: Path
) -> None:
    events = tmp_path / "events"
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", [])
    run("verify", job, tmp_path / "empty", "--json-lines", events, code=14)
    out = events.read_text().splitlines()[-1]
    last = json.loads(out)
    assert (last["event"], last["exit_code"]) == ("error", 14)


def test_events_go_into_no_link_and_no_file_of_another(run: Run, job: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    run("verify", job, "--json-lines", tmp_path / "link", code=2)
    assert not (tmp_path / "target").exists()
    kept = tmp_path / "kept"
    kept.write_text("mine\n")
    (tmp_path / "second").hardlink_to(kept)
    run("verify", job, "--json-lines", tmp_path / "second", code=2)
    assert kept.read_text() == "mine\n"


# --- room -----------------------------------------------------------------------------------


def disk(*places: Path) -> int:
    return sum(
        path.lstat().st_blocks * 512
        for place in places
        for path in (place.rglob("*") if place.exists() else ())
        if path.is_file()
    )


def test_estimates_of_room_are_within_a_quarter_of_what_a_run_takes(
    run: Run, keys: dict[str, Key], tmp_path: Path
) -> None:
    maildir, job = tmp_path / "large", tmp_path / "job"
    sizes = [300, 1_500, 6_000, 40_000, 250_000]
    lines = b"0123456789abcdef" * 4 + b"\r\n"
    mail = [
        Mail(
            "",
            f"cur/14000000{number:02}.M1P1.host:2,S",
            encrypted(
                number,
                keys["old"],
                inner=b"Content-Type: text/plain\r\n\r\n" + lines * (sizes[number % 5] // 66 + 1),
            ),
        )
        for number in range(60)
    ]
    fill(maildir, mail)
    old = named("--keys", keys["old"])
    whole = run("scan", maildir, *old)["preflight"]["space_needed"]
    begun = disk(maildir, job)

    estimated = run("decrypt", maildir, "--job", job, *old, "--dry-run")["space"]
    run("decrypt", maildir, "--job", job, *old)
    decrypted = disk(maildir, job)
    assert estimated == pytest.approx(decrypted - begun, rel=0.25)

    to = ("--job", job, "--to", keys["new"].certificate)
    estimated = run("encrypt", *to, "--dry-run")["space"]
    run("encrypt", *to)
    encrypted_now = disk(maildir, job)
    assert estimated == pytest.approx(encrypted_now - decrypted, rel=0.25)
    assert whole == pytest.approx(encrypted_now - begun, rel=0.25)


def test_encrypt_begins_nothing_that_there_is_no_room_for(
    run: Run, maildir: Path, job: Path, keys: dict[str, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checker.census(maildir)
    monkeypatch.setattr("sectool.durable.free_bytes", lambda _: 1000)
    answer = run("encrypt", "--job", job, "--to", keys["new"].certificate, code=17)
    assert "1.0 kB are free there" in answer["error"]["message"]
    assert checker.census(maildir) == before


def test_decrypt_says_before_it_begins_that_the_room_may_not_do(
    run: Run, maildir: Path, keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sectool.durable.free_bytes", lambda _: 1000)
    words = ("decrypt", maildir, "--job", tmp_path / "job", *named("--keys", keys["old"]))
    (warning,) = run(*words)["warnings"]
    assert "if all of it is encrypted, this takes about" in warning["message"]
    assert "1.0 kB are free there" in warning["message"]
    assert envelope(0)["warnings"] == []  # none is left to the next document of this process
