"""File systems of a test's own: small, or read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a file system until the test is over; skips where that is not allowed."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with contextlib.ExitStack() as stack:

        def act(*arguments: str, at: Path) -> None:
            done = subprocess.run(
                ["mount", *arguments, str(at)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
                    pytest.fail(f"mount failed: {done.stderr}")
                pytest.skip(f"mount failed: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", str(at)], check=True)

        yield act
