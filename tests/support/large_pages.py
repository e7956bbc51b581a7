"""Memory of a process in large pages, which a fork copies the table of in no time."""

from __future__ import annotations

import ctypes
from pathlib import Path

_LARGE = 1 << 21
"""Bytes of a large page."""

_COLLAPSE = 25
"""``MADV_COLLAPSE`` of Linux 6.1."""


def take_large_pages() -> None:
    """Moves what this process has in memory into large pages, where the kernel can.

    A fork copies an entry of a table for each page, and its end gives each back: with all tests
    collected that took longer than most commands that are run in forks.
    """
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    advise = ctypes.CDLL(None).madvise
    for line in lines:
        place, rights, _, _, inode, *_ = line.split()
        if not rights.startswith("rw-p") or inode != "0" or "[stack]" in line:
            continue
        start, end = (int(number, 16) for number in place.split("-"))
        for page in range(-(-start // _LARGE) * _LARGE, end - _LARGE + 1, _LARGE):
            advise(ctypes.c_void_p(page), ctypes.c_size_t(_LARGE), _COLLAPSE)
