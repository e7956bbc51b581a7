"""Dataclasses that cost little to define, and frozen ones that cost no more to make than others.

A message makes some fifty values. While it runs, Python sets each field of a frozen one by a
call of its own, which is a tenth of what a message costs. mypy holds all code to the same at
no cost: to it ``dataclass`` is that of the standard library, and to a running program it
makes classes that compare and hash as frozen ones do.

Each command defines some three hundred classes, in two processes. The standard library
compiles four methods for each; here only ``__init__`` is, and the others are shared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None,
        *,
        frozen: bool = False,
        eq: bool = True,
        order: bool = False,
        repr: bool = True,  # noqa: A002  # the name that the standard library has
        **options: Any,
    ) -> Any:
        """As ``dataclasses.dataclass``."""

        def define(cls: type) -> type:
            own = frozenset(vars(cls))
            cls.__doc__ = cls.__doc__ or cls.__name__  # else it is made from the signature
            made = dataclasses.dataclass(repr=False, eq=order, order=order, **options)(cls)
            if repr and "__repr__" not in own:
                made.__repr__ = _shown
            if eq:
                _compare_by_values(made, own, frozen=frozen)
            return made

        return define if cls is None else define(cls)


def _compare_by_values(cls: Any, own: frozenset[str], *, frozen: bool) -> None:
    """Gives a class ``__eq__``, and ``__hash__`` or none, unless it has its own."""
    values = _values(cls)

    def equal(self: object, other: object) -> object:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    if "__eq__" not in own:
        cls.__eq__ = equal
    if "__hash__" not in own:
        cls.__hash__ = (lambda self: hash(values(self))) if frozen else None


def _values(cls: type) -> Callable[[object], object]:
    """What makes a value of the fields that count where two are compared."""
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    return attrgetter(*names) if names else lambda _: ()


def _shown(self: Any) -> str:
    fields = (field for field in dataclasses.fields(self) if field.repr)
    values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields)
    return f"{self.__class__.__qualname__}({values})"
