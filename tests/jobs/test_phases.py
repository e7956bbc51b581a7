"""A phase is over when nothing is left of it, and not before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from tests.support.specifications import Specify

SELECTIONS = {
    "so many messages": jobs.Selection(limit=2),
    "one folder": jobs.Selection(folder="Sent"),
    "mail since a day": jobs.Selection(since=datetime(2011, 3, 16, tzinfo=UTC)),
    "mail before a day": jobs.Selection(before=datetime(2011, 3, 16, tzinfo=UTC)),
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_decrypting_that_left_messages_out_is_not_finished(
    maildir: Path, specify: Specify, tmp_path: Path, selection: jobs.Selection
) -> None:
    assert not jobs.run(specify("decrypt", maildir, selection=selection)).is_finished
    assert not jobs.status(tmp_path / "job").is_finished
    with pytest.raises(UsageError, match="decrypting is not finished"):
        jobs.run(specify("encrypt", maildir))


def test_what_was_left_out_is_made_up_for_by_a_run_on_the_whole_mailbox(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir, selection=jobs.Selection(limit=2)))
    assert jobs.run(specify("decrypt", maildir)).is_finished
    assert jobs.run(specify("encrypt", maildir)).is_finished


def test_a_selection_that_leaves_nothing_out_finishes_decrypting(
    maildir: Path, specify: Specify
) -> None:
    assert jobs.run(specify("decrypt", maildir, selection=jobs.Selection(limit=100))).is_finished
    assert jobs.run(specify("decrypt", maildir, selection=jobs.Selection(folder="Se*"))).is_finished


def test_decrypting_in_place_that_left_messages_encrypted_is_not_finished(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    some = specify("decrypt", maildir, in_place=True, selection=jobs.Selection(limit=2))
    assert not jobs.run(some).is_finished
    assert jobs.run(specify("decrypt", maildir, in_place=True)).is_finished


def test_mail_that_came_after_a_rollback_keeps_encrypting_closed_until_it_is_decrypted(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    jobs.run(specify("rollback", None))
    source = next((maildir / "cur").glob("1300000008.*"))
    (maildir / "cur" / "1300000009.M9P1.host:2,").write_bytes(source.read_bytes()[:600])
    jobs.run(specify("decrypt", maildir, selection=jobs.Selection(folder="Sent")))
    with pytest.raises(UsageError, match="rolled back"):
        jobs.run(specify("encrypt", maildir))
