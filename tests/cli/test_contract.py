"""What administrators' scripts rely on: the JSON document, and what stands where."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Fixture = Any

SCAN_KEYS = {
    "format",
    "mailbox",
    "messages",
    "bytes",
    "counts",
    "keys",
    "content_encryption_algorithms",
    "folders",
    "years",
    "not_done",
}
"""What the command contract says every such document has at least."""

KEY_KEYS = {"issuer", "serial_number", "subject_key_identifier", "in_history", "messages"}
NOT_DONE_KEYS = {
    "folder",
    "ref",
    "message_id",
    "state",
    "reason",
    "identity",
    "acknowledged",
}


def _check_shape(document: dict[str, Any]) -> None:
    assert document.keys() >= SCAN_KEYS
    assert document["format"] == 2
    assert sum(document["counts"].values()) == document["messages"]
    assert sum(document["folders"].values()) == document["messages"]
    assert sum(document["years"].values()) == document["messages"]
    assert all(document["counts"].values())
    assert all(entry.keys() == KEY_KEYS for entry in document["keys"])
    assert all(entry.keys() == NOT_DONE_KEYS for entry in document["not_done"])


def test_scan_counts_each_message_of_the_sample_once(run: Fixture, sample: Fixture) -> None:
    answer = run("scan", sample.maildir, *sample.history, "--workers=0", "--json")
    _check_shape(answer.document)
    assert answer.document["counts"] == Counter(
        message.state_with_keys.value for message in sample.manifest.messages
    )
    assert answer.document["folders"] == Counter(
        message.folder for message in sample.manifest.messages
    )
    assert (answer.code, answer.err) == (0, "")


def test_scan_without_keys_opens_nothing(run: Fixture, sample: Fixture) -> None:
    document = run("scan", sample.maildir, "--workers=0", "--json").document
    assert document["counts"] == Counter(
        message.state_without_keys.value for message in sample.manifest.messages
    )
    assert not any(entry["in_history"] for entry in document["keys"])


def test_scan_with_worker_processes_says_the_same(run: Fixture, sample: Fixture) -> None:
    answers = [
        run("scan", sample.small, *sample.history, f"--workers={number}", "--json").document
        for number in (0, 2)
    ]
    for document in answers:
        document["not_done"].sort(key=lambda entry: entry["ref"])
        # Measured, not counted: these two differ between any two runs.
        for shortest, longest in document["preflight"].pop("seconds").values():
            assert 0 < shortest < longest
        assert document["preflight"].pop("space_free") > 0
    assert answers[0] == answers[1]


def test_decrypt_encrypt_and_status_print_the_same_shape(
    run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    decrypted = run(
        *("decrypt", sample.small, *sample.history),
        *("--job", job, "--workers=0", "--json"),
    )
    status = run("status", job, "--json")
    for answer in (decrypted, status):
        _check_shape(answer.document)
        assert answer.document["job"] == str(job)
        assert answer.document["phase"].startswith("decrypt")
        assert answer.document["counts"]["checkpointed"] == 6
    assert (decrypted.code, status.code) == (3, 0)


def test_encrypt_prints_the_same_shape_and_the_job_knows_the_new_place(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    again = ("encrypt", "--job", move.job, "--to", sample.new, "--workers=0", "--json")
    answer = run("encrypt", move.maildir, *again[1:])
    _check_shape(answer.document)
    assert answer.document["phase"] == "encrypt"
    assert answer.document["counts"]["reencrypted"] == 6
    assert run(*again).document["counts"] == answer.document["counts"]
    assert run("status", move.job, "--json").document["mailbox"] == f"maildir:{move.maildir}"
    assert answer.code == 3


def test_rewrap_prints_the_same_shape(run: Fixture, sample: Fixture, tmp_path: Path) -> None:
    maildir, job = tmp_path / "Maildir", tmp_path / "job"
    shutil.copytree(sample.small, maildir)
    words = ("rewrap", maildir, *sample.history, "--to", sample.new, "--workers=0", "--json")
    dry = run(*words, "--dry-run")
    refused = run(*words[:-1], "--profile=modern", "--dry-run")
    assert "rewrap --or-reencrypt encrypts it anew" in refused.out
    real = run(*words, "--job", job)
    told = run("status", job, "--json")
    for answer in (dry, real, told):
        _check_shape(answer.document)
        assert answer.document["phase"] == ("" if answer is dry else "rewrap")
    assert (dry.document["dry_run"], real.document["dry_run"]) == ("rewrap", None)
    assert dry.document["counts"]["readable"] == real.document["counts"]["rewrapped"]
    assert dry.document["owner_checked"] is False
    assert [entry["messages"] for entry in dry.document["losing_access"]] == [1]
    assert (dry.code, real.code, told.code) == (3, 3, 0)
    assert told.document["counts"] == real.document["counts"]


@pytest.mark.parametrize("with_job", [False, True])
def test_a_dry_run_writes_nothing_and_says_what_a_run_would_take(
    with_job: bool, run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    options = ("--job", job) if with_job else ()
    answer = run(
        *("decrypt", sample.small, *sample.history, *options),
        *("--dry-run", "--workers=0", "--json"),
    )
    _check_shape(answer.document)
    assert answer.document["job"] == (str(job) if with_job else None)
    assert answer.document["counts"]["checkpointed"] == 6
    assert answer.document["space"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_encrypt_leaves_mailbox_and_job_as_they_are(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    def everything() -> dict[Path, bytes]:
        files = (*move.maildir.rglob("*"), *move.job.rglob("*"))
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = everything()
    answer = run(
        *("encrypt", move.maildir, "--job", move.job, "--to", sample.new),
        *("--dry-run", "--workers=0", "--json"),
    )
    assert answer.document["space"] > 0
    assert everything() == before


SELECTIONS: dict[str, tuple[tuple[str, ...], Callable[[Any], bool]]] = {
    "folder": (("--folder", "Archive/*"), lambda m: m.folder.startswith("Archive/")),
    "folder with umlauts": (("--folder", "Entwürfe"), lambda m: m.folder == "Entwürfe"),
    "since": (("--since", "2020-01-01"), lambda m: m.internal_date.year >= 2020),
    "before": (("--before", "2020-01-01"), lambda m: m.internal_date.year < 2020),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_takes_these_and_counts_the_others(
    name: str, run: Fixture, sample: Fixture
) -> None:
    options, takes = SELECTIONS[name]
    document = run("scan", sample.maildir, *options, "--workers=0", "--json").document
    taken = sum(takes(message) for message in sample.manifest.messages)
    assert 0 < taken < document["messages"]
    assert document["counts"]["not-selected"] == document["messages"] - taken


def test_a_limit_is_kept(run: Fixture, sample: Fixture) -> None:
    document = run("scan", sample.small, "--limit=3", "--workers=0", "--json").document
    assert document["counts"]["not-selected"] == document["messages"] - 3


@pytest.mark.parametrize("command", ["scan", "keys", "status"])
def test_a_report_goes_to_standard_output_alone(
    command: str, run: Fixture, sample: Fixture
) -> None:
    arguments = {
        "scan": (sample.small, "--workers=0"),
        "keys": (sample.keys / "old", "--passphrases", sample.keys / "passphrases.csv"),
        "status": (sample.job,),
    }[command]
    answer = run(command, *arguments)
    assert answer.err == ""
    assert answer.out
    assert "\x1b" not in answer.out


@pytest.mark.parametrize("command", ["scan", "keys", "status"])
def test_quiet_says_nothing_but_errors(command: str, run: Fixture, sample: Fixture) -> None:
    arguments = {
        "scan": (sample.small, "--workers=0"),
        "keys": (sample.keys / "old", "--passphrases", sample.keys / "passphrases.csv"),
        "status": (sample.job,),
    }[command]
    answer = run(command, *arguments, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_the_table_lists_each_message_that_was_not_done_with_its_reason(
    run: Fixture, sample: Fixture
) -> None:
    answer = run("scan", sample.small, *sample.history, "--workers=0")
    lines = answer.out.splitlines()
    (place,) = (n for n, line in enumerate(lines) if line.startswith("  1 missing-key: "))
    assert "no key for any recipient" in lines[place]
    assert lines[place + 1].startswith("    do: find that key")
    assert lines[place + 2].startswith("    INBOX  <")


def test_keys_counts_the_messages_that_need_each_key(run: Fixture, sample: Fixture) -> None:
    answer = run(
        *("keys", sample.keys / "old", sample.keys / "passphrase.txt", "--json", "--workers=0"),
        *("--passphrases", sample.keys / "passphrases.csv", "--mailbox", sample.maildir),
    )
    document = answer.document
    by_serial = {entry["serial_number"]: entry["messages"] for entry in document["keys"]}
    assert set(by_serial) == {"2005", "9c2008", "7e0020110c5d4f8811aa02"}
    assert all(by_serial.values())
    # The passphrase file is no key file: said, and no reason to fail.
    assert [Path(entry["file"]).name for entry in document["problems"]] == ["passphrase.txt"]
    assert answer.code == 0


def test_keys_shows_what_names_a_key_in_mail(run: Fixture, sample: Fixture) -> None:
    passphrases = ("--passphrases", sample.keys / "passphrases.csv")
    answer = run("keys", sample.keys / "old", sample.keys / "passphrase.txt", *passphrases)
    assert "  serial   7e0020110c5d4f8811aa02\n" in answer.out
    assert "  issuer   CN=Example Mail CA G2,C=ZZ\n" in answer.out
    assert "not read: " in " ".join(answer.out.split())


def test_the_version_is_an_answer_and_goes_to_standard_output(run: Fixture) -> None:
    answer = run("--version")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("sectool ")


def test_a_folder_that_is_not_there_is_told(run: Fixture, sample: Fixture) -> None:
    answer = run("scan", sample.small, "--folder=NoSuch", "--workers=0")
    assert "the mailbox has no folder NoSuch" in answer.err
    assert "has no folder" not in run("scan", sample.small, "--folder=IN*", "--workers=0").err


def test_what_to_do_next_is_told_only_while_it_is_to_be_done(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    maildir, job = move.maildir, tmp_path / "other"
    decrypt = ("decrypt", maildir, *sample.history, "--job", job, "--workers=0")
    known = tmp_path / "known.txt"
    (missing,) = run(*decrypt, "--json").document["not_done"]
    assert run(*decrypt).out.splitlines()[-1].startswith("next: find the missing keys")
    known.write_text(f"{missing['identity']} {missing['state']}\n")
    assert "next: move the mailbox" in run(*decrypt, "--acknowledge", known).out
    run("encrypt", maildir, "--job", job, "--to", sample.new, "--workers=0")
    assert "next:" not in run(*decrypt).out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("encrypt", "--job", "job", "--to", "{stranger}"), "not the private key"),
        (("scan", "{small}", "--keys", "/nowhere/keys"), "check the path"),
        (("scan", "{small}", "--keys", "/dev/null"), "PKCS#12, PEM or DER"),
        (("scan", "{small}", "--limit=0"), "--help"),
    ],
    ids=["private key as --to", "no such keys", "no key file", "limit"],
)
def test_every_hint_says_what_to_do(
    arguments: tuple[str, ...], hint: str, run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    only_key = tmp_path / "only.key"
    pem = (sample.keys / "new" / "owner-new.key").read_text()
    only_key.write_text(pem[pem.index("-----BEGIN PRIVATE KEY") :])
    words = [word.format(stranger=only_key, small=sample.small) for word in arguments]
    lines = run(*words).err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("sectool: error: ")
    assert hint in lines[1]
