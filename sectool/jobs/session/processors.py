"""How many processors this process may use: fewer than there are, in a container or a slice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path, PurePosixPath

_MOST_WORKERS = 8
"""More workers find one process that names and logs what they did."""
_MEMBERSHIP = re.compile(r"^\d+:([^:]*):(/.*)$", re.MULTILINE)
"""Controllers, none in version 2, and path of a line of /proc/PID/cgroup (cgroups(7))."""
_MOUNT = re.compile(r"^\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)$", re.MULTILINE)
"""Root, mount point, type and options of a line of /proc/PID/mountinfo (proc(5))."""


def default_workers() -> int:
    """As many workers as this process may use processors, eight at most."""
    return min(available_processors(), _MOST_WORKERS)


def available_processors(root: Path = Path("/")) -> int:
    """Those the affinity mask allows, or fewer where a control group has a quota.

    Args:
        root: where ``proc`` and what is mounted are found.

    Returns:
        At least 1; a quota of one and a half processors is good for two workers.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, ceil(min([allowed or 1, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Processors by the quota of each control group this process is in; what is odd is none."""
    for group in _groups(root):
        with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
            if int(quota) > 0:
                yield int(quota) / int(period)


def _groups(root: Path) -> Iterator[Path]:
    """Directories of the control groups, version 1 and 2, each with those it is in."""
    try:
        memberships = (root / "proc/self/cgroup").read_text(encoding="utf-8")
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return
    paths = {
        "cgroup" if controllers else "cgroup2": path
        for controllers, path in _MEMBERSHIP.findall(memberships)
        if not controllers or "cpu" in controllers.split(",")
    }
    for top, mounted, kind, options in _MOUNT.findall(mounts):
        if kind in paths and (kind == "cgroup2" or "cpu" in options.split(",")):
            place = root / _unescaped(mounted).lstrip("/")
            inside = PurePosixPath("/", os.path.relpath(paths[kind], _unescaped(top)))
            # Outside of what is mounted: a container sees its own group at the top.
            shown = [] if ".." in inside.parts else [inside, *inside.parents]
            yield from (place / str(group).lstrip("/") for group in shown or [PurePosixPath("/")])


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
