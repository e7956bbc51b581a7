"""``scan --check`` answers a script."""

from __future__ import annotations

from typing import Any

Fixture = Any


def test_a_mailbox_that_is_not_safe_ends_with_3_only_when_it_is_asked(
    run: Fixture, sample: Fixture
) -> None:
    words = ("scan", sample.small, *sample.history, "--workers=0", "--json")
    asked = run(*words, "--check")
    assert (run(*words).code, asked.code) == (0, 3)
    assert asked.document["preflight"]["safe_to_move"] is False


def test_the_verdict_names_the_missing_key(run: Fixture, sample: Fixture) -> None:
    answer = run("scan", sample.small, *sample.history, "--workers=0")
    assert "safe to move now: no" in answer.out
    assert "missing key: " in answer.out
