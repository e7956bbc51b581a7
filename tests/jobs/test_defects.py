"""What is odd about the encoding of encrypted mail is told, and costs nothing."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sectool import jobs
from sectool.cli.words.render import as_json, as_table
from sectool.mime import base64_text
from sectool.outcome import State
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

STRAYS = base64_text.STRAY_CHARACTERS
BEHIND = "bytes after the CMS were ignored"


def reencoded(
    raw: bytes, *, line_end: bytes = b"\n", pad: bool = True, behind: bytes = b""
) -> bytes:
    header, _, body = raw.partition(b"\n\n")
    decoded = base64.b64decode(body) + behind
    text = base64.encodebytes(decoded + bytes(-(len(decoded) + 1) % 3)).replace(b"\n", line_end)
    return header + b"\n\n" + (text if pad else text.replace(b"=", b""))


@pytest.fixture
def odd(keys: Keys, tmp_path: Path) -> Path:
    """Five messages: one is as it should be, two have stray characters."""
    raw = [
        encrypted(1, keys.old),
        reencoded(encrypted(2, keys.old), line_end=b"!\n"),
        reencoded(encrypted(3, keys.old), line_end=b"\n-- \n", behind=b"and more"),
        reencoded(encrypted(4, keys.old), pad=False),
        reencoded(encrypted(5, keys.old)) + b"footer of the list\n",
    ]
    directory = tmp_path / "Maildir"
    fill(directory, [Mail("", f"cur/130000000{n}.M{n}P1.h:2,", one) for n, one in enumerate(raw)])
    return directory


TOLD = {
    STRAYS: 2,
    BEHIND: 1,
    base64_text.MISSING_PADDING: 1,
    base64_text.AFTER_PADDING: 1,
}


def test_a_scan_tells_what_is_odd(odd: Path, specify: Specify) -> None:
    summary = jobs.run(specify("scan", odd))
    assert summary.counts == {State.READABLE: 5}
    assert summary.defects == TOLD


def test_a_job_tells_it_after_every_run(odd: Path, specify: Specify, tmp_path: Path) -> None:
    for operation in ("decrypt", "decrypt", "encrypt"):
        summary = jobs.run(specify(operation, odd))
        assert (summary.defects, summary.exit_code) == (TOLD, 0)
    assert as_json(jobs.status(tmp_path / "job"))["defects"] == TOLD


def test_a_person_sees_how_many_messages_are_odd(odd: Path, specify: Specify) -> None:
    lines = list(as_table(jobs.run(specify("scan", odd))))
    assert any(line.startswith("odd, and read all the same") for line in lines)
    assert any(line.startswith(STRAYS) and line.split()[-1] == "2" for line in lines)


def test_mail_in_order_has_nothing_odd(keys: Keys, specify: Specify, tmp_path: Path) -> None:
    directory = tmp_path / "Maildir"
    fill(directory, [Mail("", "cur/1300000001.M1P1.h:2,", encrypted(1, keys.old))])
    summary = jobs.run(specify("scan", directory))
    assert not summary.defects
    assert not [line for line in as_table(summary) if line.startswith("odd")]
