"""``scan --quick`` says that it gives no verdict, and nothing can take it for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Fixture = Any

QUICK = "quick look, no verdict"


def test_it_says_that_it_gives_no_verdict(run: Fixture, sample: Fixture) -> None:
    answer = run("scan", "--quick", sample.small, *sample.history, "--workers=0")
    assert answer.code == 0
    assert f"verdict   {QUICK}" in answer.out
    assert "safe" not in answer.out
    assert "phase     quick-scan" in answer.out


def test_its_document_cannot_be_taken_for_a_scan(run: Fixture, sample: Fixture) -> None:
    words = ("scan", sample.small, *sample.history, "--workers=0", "--json")
    quick, scan = run(*words, "--quick").document, run(*words).document
    assert (quick["phase"], scan["phase"]) == ("quick-scan", "scan")
    assert quick["verdict"]["good"] is False
    assert quick["verdict"]["text"].startswith(QUICK)
    assert "preflight" not in quick
    assert set(quick["counts"]) <= {"encrypted", "not-read", "not-selected"}
    assert quick["messages"] == scan["messages"] == sum(quick["counts"].values())
    # What is counted by its head names keys that the scan names as well, in no more messages.
    names = ("issuer", "serial_number", "subject_key_identifier", "in_history")
    counted = {tuple(key[name] for name in names): key["messages"] for key in scan["keys"]}
    for key in quick["keys"]:
        assert key["messages"] <= counted[tuple(key[name] for name in names)]


@pytest.mark.parametrize(
    "words",
    [
        ("--check",),
        ("--new-keys", "KEYS"),
        ("--secrets", "KEYS"),
        ("--try-keys",),
        ("--try-tokens",),
        ("--accept", "0" * 64),
        ("--break-signatures",),
        ("--leave-attachments",),
    ],
    ids=lambda words: words[0],
)
def test_it_does_not_go_with_what_judges_or_opens(
    run: Fixture, sample: Fixture, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "KEYS").write_text("")
    given = [str(tmp_path / word) if word == "KEYS" else word for word in words]
    answer = run("scan", "--quick", sample.small, *sample.history, *given)
    assert answer.code == 2
    assert f"{words[0]} does not go with --quick" in answer.err
    assert answer.is_one_error()
