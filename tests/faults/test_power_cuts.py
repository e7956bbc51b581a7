"""The power is cut under a mailbox and its job: what was relied on is there (F34-F36, F38).

On file systems of a test's own, ext4 and XFS, which forget what was not synced (the ioctl
FS_IOC_SHUTDOWN), are mounted anew and looked at.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.every_call import Judge, Stage, Trial, cuts, note_figures
from tests.support.faults import FaultyProcess, without_syncs_of_files
from tests.support.mailboxes import Keys

KINDS = ("xfs", "ext4")
SIZES = {"xfs": 320, "ext4": 48}
"""Megabytes, most of them never written; XFS is made from 300 on."""

PATIENCE = 120.0
"""Seconds until a file system is unmounted everywhere."""

OPERATIONS = ("decrypt", "in place", "encrypt", "rewrap", "rollback", "purge")
SAMPLE = 3
"""Cuts of an operation in the normal run."""


@dataclass
class Disk:
    """A mounted file system."""

    kind: str
    device: str
    place: Path

    def mount(self) -> None:
        subprocess.run(["mount", self.device, str(self.place)], check=True)

    def unmount(self) -> None:
        """Waits until nobody has it: a mount namespace that was made meanwhile has it as well."""
        subprocess.run(["umount", str(self.place)], check=True)
        limit = time.monotonic() + PATIENCE
        while Path("/sys/fs", self.kind, Path(self.device).name).exists():
            assert time.monotonic() < limit, f"{self.device} is still mounted somewhere"
            time.sleep(0.01)

    def sync(self) -> None:
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            assert ctypes.CDLL(None).syncfs(descriptor) == 0
        finally:
            os.close(descriptor)


@dataclass
class DiskStage(Stage):
    """A mailbox and its job on a disk that loses its power."""

    disk: Disk | None = None

    def set(self, state: str) -> None:
        super().set(state)
        assert self.disk is not None
        self.disk.sync()

    def recover(self) -> None:
        assert self.disk is not None
        self.disk.unmount()
        self.disk.mount()


def _ask(*command: str) -> tuple[str, str]:
    """What a command answers, and why it does not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip(), "" if done.returncode == 0 else done.stderr.strip() or "it failed"


@pytest.fixture(scope="module", params=KINDS)
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disk]:
    """Skips where there are no loop devices, and tells why."""
    kind = request.param
    place = tmp_path_factory.mktemp(kind)
    if os.geteuid() != 0:
        pytest.skip("power cuts: loop devices need root")
    if shutil.which(f"mkfs.{kind}") is None:
        why = f"power cuts: mkfs.{kind} is not there"
        (pytest.fail if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1" else pytest.skip)(why)
    image, directory = place / "image", place / "disk"
    directory.mkdir()
    with image.open("wb") as stream:
        stream.truncate(SIZES[kind] * 1024 * 1024)
    device, why = _ask("losetup", "--find", "--show", str(image))
    if why:
        pytest.skip(f"power cuts: losetup: {why}")
    try:
        subprocess.run([f"mkfs.{kind}", "-q", device], check=True)
        _, why = _ask("mount", device, str(directory))
        if why:
            pytest.skip(f"power cuts: mount of {kind}: {why}")
        made = Disk(kind, device, directory)
        try:
            yield made
        finally:
            made.unmount()
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture(scope="module")
def stage(
    disk: Disk, tmp_path_factory: pytest.TempPathFactory, keys: Keys, faulty: FaultyProcess
) -> DiskStage:
    place = tmp_path_factory.mktemp("states")
    return DiskStage(place, faulty, keys, disk.place / "work", disk=disk)


# Budget: 15 seconds for the sample.
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(name, marks=() if name == "encrypt" else pytest.mark.all_only)
        for name in OPERATIONS
    ],
)
def test_a_power_cut_costs_no_message_and_the_same_command_resumes(
    operation: str, stage: DiskStage, whole: bool
) -> None:
    judge = Judge(stage, operation)
    calls = judge.calls()
    chosen = list(cuts(calls))
    if not whole:
        chosen = chosen[:: len(chosen) // SAMPLE + 1]
    violations = [text for trial in chosen for text in judge.violations(trial)]
    note_figures(f"{operation}, {stage.work.parents[1].name}", calls, chosen, violations)
    assert violations == []


@pytest.mark.parametrize("disk", ["xfs"], indirect=True)
def test_without_the_sync_before_the_rename_messages_are_lost_and_that_is_seen(
    stage: DiskStage, faulty: FaultyProcess, keys: Keys
) -> None:
    judge = Judge(stage, "encrypt")
    assert judge.violations(_last_of_mailbox(judge)) == []
    stage.prepare = without_syncs_of_files
    try:
        found = _last_of_mailbox(judge)
        assert any("there is" in text for text in judge.violations(found))
    finally:
        stage.prepare = None


def _last_of_mailbox(judge: Judge) -> Trial:
    """The last cut at mail: what comes after it is reached, however young files were."""
    found = [trial for trial in cuts(judge.calls()) if trial.way == "cut"]
    return [trial for trial in found if "/box/" in trial.call.path][-1]
