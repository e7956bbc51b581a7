"""Attached archives that cannot be looked into are told, in words and in JSON, and do no harm."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.support import odd_mail
from tests.support.mailboxes import Mail, fill


def sealed(count: int) -> bytes:
    """A message with so many 7z files."""
    file = b"Content-Type: application/x-7z-compressed\nContent-Transfer-Encoding: base64\n\n"
    file += odd_mail.wrapped(b"7z\xbc\xaf\x27\x1c" + bytes(range(256)))
    parts = odd_mail.multipart(odd_mail.TEXT, *[file] * count)
    return b"\n".join((*odd_mail.AUTHOR, odd_mail.MIME, parts))


def test_archives_that_may_contain_mail_are_counted_over_the_whole_mailbox(
    run: Run, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    counts = [0, 1, 3]
    fill(
        maildir,
        [Mail("", f"cur/13{count:08}.M1.h:2,", sealed(count)) for count in counts],
    )
    told = run("scan", maildir)
    assert told.code == 0
    assert "4 attachments may contain mail" in told.out
    document = run("scan", maildir, "--json").document
    assert document["uninspected"] == 4


def test_one_archive_is_one_and_none_is_not_told(run: Run, tmp_path: Path) -> None:
    for count, line in ((1, "1 attachment may contain mail"), (0, "")):
        maildir = tmp_path / str(count)
        fill(maildir, [Mail("", "cur/1300000001.M1.h:2,", sealed(count))])
        told = run("scan", maildir)
        assert line in told.out
        assert ("may contain mail" in told.out) == bool(line)
