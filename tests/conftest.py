"""What holds for every test."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.checked_keys import CheckedOnce
from tests.support.large_pages import take_large_pages

if TYPE_CHECKING:
    from tests.support.faults import FaultyProcess

TESTS = Path(__file__).parent

# Where Python was told to keep no compiled modules, hundreds of processes that are started here
# would compile the package anew, each for half a second.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(TESTS.parent / ".pytest_cache" / "compiled")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A virtual machine of Java that lives for a second has no use for a good compiler.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# A shell starts what runs in its background deaf to interrupts, and nohup deaf to a terminal that
# is closed. Every process that a test starts, to end it so, would inherit that; what is handled is
# not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


MEASURED = frozenset({"asn1", "cms", "keys"})
"""Directories of the tests that count for the coverage, where it is measured."""

MEASURED_BESIDE = frozenset(
    {
        "smime/test_inside.py",
        "smime/test_integrity.py",
        "smime/test_inventory.py",
        "smime/test_opening.py",
        "smime/test_protected_subject.py",
        "smime/test_signatures.py",
        "smime/test_wrappings.py",
    }
)
"""Modules elsewhere that count for it too: what is signed or compressed is read with mail."""

UNMEASURED = frozenset(
    {"cms/test_quick_recipients.py", "cms/test_streaming.py", "cms/test_wide_input.py"}
)
"""Modules that do the same so often that measuring takes several times as long."""

MEASURING = pytest.StashKey[bool]()
"""Whether coverage is measured now."""

ABOUT_KEYS = frozenset({"fuzz", "keys", "planted", "test_growth.py", "test_limits.py"})
"""Directories and modules in which every key is checked as often as it is read."""

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
    """Takes the number of examples; lets a run of the sample work in memory, unless told where.

    No test sees a power cut, and a killed process leaves the same files on any file system;
    half the time of the tests was waiting for syncs. With ``--all`` the disk is used.
    """
    _set_examples(300 if config.getoption("whole") else 60)
    if config.getoption("whole") or "TMPDIR" in os.environ or not _is_fit(MEMORY):
        return
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None


def _set_examples(count: int) -> None:
    # Imported here, where its compiled modules are kept: pytest rewrites them, which takes seconds.
    from hypothesis import HealthCheck, settings

    # The machine's speed is no property of the code. A build must not depend on luck
    # either: there the examples are the same each time, and a person's runs look for new ones.
    settings.register_profile(
        "ours",
        deadline=None,
        derandomize="CI" in os.environ,
        max_examples=count,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("ours")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Of ``-n auto``: half as many again as processors, since tests wait for peers and clocks."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return max(1, len(os.sched_getaffinity(0)) * 3 // 2)


def _is_fit(directory: Path) -> bool:
    if not os.access(directory, os.W_OK):
        return False
    executable = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return executable and shutil.disk_usage(directory).free >= ROOM


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """All that a collection of tests makes stays: to look for garbage in it is in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no collection has to look at it again.

    Nor does a fork copy it because a collection wrote to it.
    """
    gc.collect()
    gc.freeze()
    take_large_pages()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cases that run with ``--all`` alone; what takes long begins first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if config.getoption("whole"):
        return
    left_out = [item for item in items if item.get_closest_marker("all_only")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("all_only")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Measures the coverage only in the tests that are about what strangers made.

    It costs time, and what a whole move passes on its way is no test of it. Switching costs
    some too, so it is left as it is between tests of one kind.
    """
    coverage = getattr(item.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    if coverage is None:
        return
    path = item.path.relative_to(TESTS)
    module = path.as_posix()
    wanted = (path.parts[0] in MEASURED and module not in UNMEASURED) or module in MEASURED_BESIDE
    if wanted == item.config.stash.get(MEASURING, True):
        return
    item.config.stash[MEASURING] = wanted
    if wanted:
        coverage.resume()
    else:
        _pause(coverage)


def _pause(controller: Any) -> None:
    """Also what pytest-cov began in a worker before it knew that it is one, and never reads.

    It took over again whenever the worker's own was stopped, so that nothing was left out.
    """
    import coverage

    controller.pause()
    while beneath := coverage.Coverage.current():
        beneath.stop()


@pytest.fixture(scope="module", autouse=True)
def _keys_are_checked_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """But where reading keys is what is tested, or what work it is."""
    place = request.path.relative_to(TESTS)
    with pytest.MonkeyPatch.context() as patch:
        if place.parts[0] not in ABOUT_KEYS:
            patch.setattr(rsa, "RSAPrivateNumbers", CheckedOnce)
        yield


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Whether a harness is to run all its cases (``--all``), and not its fixed sample."""
    return bool(pytestconfig.getoption("whole"))


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyProcess]:
    """Runs commands whose calls fail."""
    from tests.support.faults import FaultyProcess, compile_library

    process = FaultyProcess(compile_library(tmp_path_factory.getbasetemp().parent))
    yield process
    process.close()
