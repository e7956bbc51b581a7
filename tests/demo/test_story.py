"""The demo comes out as it must, from beginning to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool.demo.story import play
from sectool.errors import UsageError


def test_the_story_comes_out_and_says_where_to_look(tmp_path: Path) -> None:
    lines: list[str] = []
    play(tmp_path / "demo", lines.append)
    text = "\n".join(lines)
    assert "killed in the middle of its work (status -9)" in text
    assert "All 86 messages that opened before the move open after it." in text
    for place in ("job/checkpoints", "job/originals", "new-server/Maildir"):
        assert str(tmp_path / "demo" / place) in text
        assert (tmp_path / "demo" / place).is_dir()


def test_the_story_is_not_told_over_somebodys_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError):
        play(tmp_path, print)
