"""As many workers as processors may be used: a mask and a quota of a control group count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sectool.jobs.session.processors import available_processors

ALL = len(os.sched_getaffinity(0))
FIRST = "24 1 0:20 / /proc rw - proc proc rw\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def put_into_group(root: Path, membership: str, mount: str) -> None:
    (root / "proc/self/cgroup").write_text(membership + "\n")
    (root / "proc/self/mountinfo").write_text(FIRST + mount + "\n")


def limit(group: Path, **files: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (group / f"cpu.{name}").write_text(text + "\n")


VERSION_2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
VERSION_1 = "32 31 0:29 {} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("100000 100000", 1), ("50000 100000", 1), ("1000 1000000", 1), ("max 100000", ALL)],
)
def test_a_quota_of_version_2_counts(root: Path, quota: str, expected: int) -> None:
    put_into_group(root, "0::/user.slice/a b", VERSION_2)
    limit(root / "sys/fs/cgroup/user.slice/a b", max=quota)
    assert available_processors(root) == expected


def test_a_broken_number_of_processors_is_rounded_up(root: Path) -> None:
    put_into_group(root, "0::/", VERSION_2)
    limit(root / "sys/fs/cgroup", max="100001 100000")
    assert available_processors(root) == min(2, ALL)


def test_the_quota_of_a_group_that_holds_the_own_one_counts(root: Path) -> None:
    put_into_group(root, "0::/tight/loose", VERSION_2)
    limit(root / "sys/fs/cgroup/tight", max="100000 100000")
    limit(root / "sys/fs/cgroup/tight/loose", max="max 100000")
    assert available_processors(root) == 1


def test_a_quota_of_version_1_counts_where_the_mount_shows_a_part(root: Path) -> None:
    put_into_group(root, "4:cpu,cpuacct:/docker/1f/job\n0::/", VERSION_1.format("/docker/1f"))
    limit(root / "sys/fs/cgroup/cpu,cpuacct/job", cfs_quota_us="90000", cfs_period_us="100000")
    assert available_processors(root) == 1


def test_no_quota_of_version_1_is_minus_one(root: Path) -> None:
    put_into_group(root, "4:cpu:/", VERSION_1.format("/"))
    limit(root / "sys/fs/cgroup/cpu,cpuacct", cfs_quota_us="-1", cfs_period_us="100000")
    assert available_processors(root) == ALL


def test_a_container_finds_its_quota_at_the_top_of_what_it_sees(root: Path) -> None:
    put_into_group(root, "0::/../elsewhere", VERSION_2)
    limit(root / "sys/fs/cgroup", max="100000 100000")
    assert available_processors(root) == 1


def test_a_mount_point_with_a_space_is_found(root: Path) -> None:
    put_into_group(root, "0::/", VERSION_2.replace("/sys/fs/cgroup", r"/sys/my\040groups"))
    limit(root / "sys/my groups", max="100000 100000")
    assert available_processors(root) == 1


@pytest.mark.parametrize(
    ("membership", "mount", "quota"),
    [
        ("0::/", VERSION_2, "many 0"),
        ("0::/", VERSION_2, "100000 0"),
        ("0::/", VERSION_2, ""),
        ("", "", ""),
        ("0", "31 23", ""),
        ("0::/", "31 23 0:28 / - cgroup2", "100000 100000"),
    ],
)
def test_what_is_odd_limits_nothing(root: Path, membership: str, mount: str, quota: str) -> None:
    put_into_group(root, membership, mount)
    limit(root / "sys/fs/cgroup", max=quota)
    assert available_processors(root) == ALL


def test_no_control_groups_limit_nothing(tmp_path: Path) -> None:
    assert available_processors(tmp_path) == ALL


def test_the_mask_of_processors_counts() -> None:
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        " from sectool.jobs import default_workers; print(default_workers())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"1\n"
