"""Frozen dataclasses that cost no more to make than others.

A message makes some fifty values. While it runs, Python sets each field of a frozen one by a
call of its own, which is a tenth of what a message costs. mypy holds all code to the same at
no cost: to it ``dataclass`` is that of the standard library, and to a running program it
makes classes that compare and hash as frozen ones do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, **options: Any) -> Callable[[type], type]:
        """As ``dataclasses.dataclass``."""
        return dataclasses.dataclass(unsafe_hash=frozen, **options)
