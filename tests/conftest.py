"""What holds for every test."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Where Python was told to keep no compiled modules, hundreds of processes that are started here
# would compile the package anew, each for half a second.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The machine's speed is no property of the code. A build must not depend on luck
# either: there the examples are the same each time, and a person's runs look for new ones.
settings.register_profile(
    "sectool",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sectool")

# A shell starts what runs in its background deaf to interrupts, and every process that a
# test starts and interrupts would inherit that. What is handled is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


MEMORY = Path("/dev/shm")
"""A file system in memory, where a sync costs nothing."""

ROOM = 4 * 1024**3
"""Bytes that have to be free there; a whole run takes a quarter of it at most."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        dest="whole",
        help="run every case of every harness; without it, a fixed sample of them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Lets a run of the sample work in memory, unless it was told where to work.

    No test sees a power cut, and a killed process leaves the same files on any file system;
    half the time of the tests was waiting for syncs. With ``--all`` the disk is used.
    """
    if config.getoption("whole") or "TMPDIR" in os.environ or not _is_fit(MEMORY):
        return
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None


def _is_fit(directory: Path) -> bool:
    if not os.access(directory, os.W_OK):
        return False
    executable = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return executable and shutil.disk_usage(directory).free >= ROOM


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cases that run with ``--all`` alone."""
    if config.getoption("whole"):
        return
    left_out = [item for item in items if item.get_closest_marker("all_only")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("all_only")]


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Whether a harness is to run all its cases (``--all``), and not its fixed sample."""
    return bool(pytestconfig.getoption("whole"))
