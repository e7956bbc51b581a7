"""Answers that are kept, since all mail of a mailbox asks for the same few."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_MOST = 1024
"""Bytes of a value that is kept, and values of one function."""


def remembering(function: Function) -> Function:
    """Keeps what a function makes of small values, so that hostile ones fill no memory.

    Args:
        function: of bytes, and of what can be compared; depends on nothing else.
    """
    kept = lru_cache(maxsize=_MOST)(function)

    @wraps(function)
    def answer(value: bytes, *further: Hashable) -> Any:
        return (kept if len(value) <= _MOST else function)(value, *further)

    return cast("Function", answer)
