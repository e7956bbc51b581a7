"""The tests see the faults that they are there for: each planted bug makes one of them fail.

A copy of the package is made with one line of it changed for the worse, and the tests that are
said to see it run on that copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]

SAMPLE = 2
"""Of this many bugs it is tried in the normal run that they are seen, the quickest first."""

SECONDS = 300
"""After which the tests of a bug are given up."""


def cases() -> list[object]:
    """All bugs, most of them for ``--all`` alone."""
    return [
        pytest.param(bug, id=bug.name, marks=() if number < SAMPLE else pytest.mark.all_only)
        for number, bug in enumerate(BUGS)
    ]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_changes_one_place_of_the_package(bug: Bug) -> None:
    assert (ROOT / bug.module).read_text(encoding="utf-8").count(bug.right) == 1
    assert bug.right != bug.wrong
    assert bug.seen_by
    assert f"| {bug.name} |" in (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    for test in bug.seen_by:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("bug", cases())
def test_a_planted_bug_is_seen(bug: Bug, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("sectool", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "sample_mailbox", "docs", "README.md"):
        (tree / name).symlink_to(ROOT / name)
    (tmp_path / "shared").symlink_to(ROOT.parent / "shared")
    assert _run(tree, bug).returncode == 0
    module = tree / bug.module
    module.write_text(module.read_text(encoding="utf-8").replace(bug.right, bug.wrong))
    ended = _run(tree, bug)
    assert ended.returncode == 1, ended.stdout[-4000:]
    assert "1 failed" in ended.stdout, ended.stdout[-4000:]


def _run(tree: Path, bug: Bug) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *bug.seen_by]
    return subprocess.run(
        command,
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
