"""A summary stays of a size that one can hold, whatever the mail is."""

from __future__ import annotations

from sectool.cli.words.render import as_json, as_table
from sectool.outcome import State
from sectool.summary import LISTED_NOT_DONE, LONGEST_REASON, NotDone, Summary

MANY = LISTED_NOT_DONE + 7


def of_many() -> Summary:
    summary = Summary("maildir:/m", "/j", "decrypt")
    for number in range(2 * MANY):
        known = number >= MANY
        reason = "" if known else f"{number % 9} no key for " + "CN=x, " * 200_000 * (number == 3)
        summary.list_not_done(
            NotDone("INBOX", str(number), "", State.MISSING_KEY, reason, acknowledged=known)
        )
    return summary


def test_the_list_of_what_is_not_done_ends_and_says_how_much_more_there_is() -> None:
    summary = of_many()
    assert len(summary.not_done) == 2 * LISTED_NOT_DONE
    assert sum(entry.acknowledged for entry in summary.not_done) == LISTED_NOT_DONE
    assert summary.not_done_beyond == 14
    assert as_json(summary)["not_done_beyond"] == 14
    told = list(as_table(summary))
    assert f"not done ({2 * MANY})" in told
    assert any(line.startswith("  and 14 more that are not listed") for line in told)


def test_a_reason_ends() -> None:
    longest = max(len(entry.reason) for entry in of_many().not_done)
    assert longest == LONGEST_REASON
