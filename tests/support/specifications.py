"""Specifications of runs, made by the name of the operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Literal, Protocol, TypedDict, Unpack, cast, get_args, overload

from sectool import jobs
from sectool.cms import Profile
from sectool.keys import KeySpecification
from sectool.smime import PartSelection


class Fields(TypedDict, total=False):
    """Fields of a specification, each of the operations that have it."""

    abandon: bool
    accept_fingerprints: frozenset[str]
    accept_lost: bool
    accept_unproven: bool
    acknowledge: Path | None
    deep: bool
    dry_run: bool
    give_up: Path | None
    in_place: bool
    include_clear: bool
    job: Path | None
    keys: KeySpecification | None
    limit_factor: int
    max_failures: int
    nested: bool
    new_certificates: tuple[Path, ...]
    new_keys: KeySpecification | None
    older_than: timedelta | None
    or_reencrypt: bool
    owners: tuple[str, ...]
    part_selection: PartSelection
    partial: bool
    passphrases: KeySpecification | None
    profile: Profile
    reason: jobs.Reason
    released: frozenset[str]
    restart_phase: bool
    restore_lost: bool
    restore_subject: bool
    retire: KeySpecification | None
    retry: bool
    seal_keys: KeySpecification | None
    seal_to: tuple[Path, ...]
    selection: jobs.Selection
    shared: bool
    to_stage: str
    trust_group: str | None
    verify_keys: KeySpecification | None
    workers: int
    wrapped: bool


Place = Path | str | None
"""Of a mailbox; None: where the job knows it."""


class Specify(Protocol):
    """Makes a specification of a run; see the fixture ``specify``."""

    @overload
    def __call__(
        self, operation: Literal["scan"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Scan: ...
    @overload
    def __call__(
        self, operation: Literal["decrypt"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Decrypt: ...
    @overload
    def __call__(
        self, operation: Literal["encrypt"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Encrypt: ...
    @overload
    def __call__(
        self, operation: Literal["rewrap"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Rewrap: ...
    @overload
    def __call__(
        self, operation: Literal["verify"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Verify: ...
    @overload
    def __call__(
        self, operation: Literal["rollback"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Rollback: ...
    @overload
    def __call__(
        self, operation: Literal["purge"], mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Purge: ...
    @overload
    def __call__(
        self, operation: str, mailbox: Place, /, **changes: Unpack[Fields]
    ) -> jobs.Specification: ...


class SpecifyThere(Protocol):
    """The same, on a mailbox that stays where it is."""

    @overload
    def __call__(self, operation: Literal["scan"], /, **changes: Unpack[Fields]) -> jobs.Scan: ...
    @overload
    def __call__(
        self, operation: Literal["decrypt"], /, **changes: Unpack[Fields]
    ) -> jobs.Decrypt: ...
    @overload
    def __call__(
        self, operation: Literal["encrypt"], /, **changes: Unpack[Fields]
    ) -> jobs.Encrypt: ...
    @overload
    def __call__(
        self, operation: Literal["rewrap"], /, **changes: Unpack[Fields]
    ) -> jobs.Rewrap: ...
    @overload
    def __call__(
        self, operation: Literal["verify"], /, **changes: Unpack[Fields]
    ) -> jobs.Verify: ...
    @overload
    def __call__(
        self, operation: Literal["rollback"], /, **changes: Unpack[Fields]
    ) -> jobs.Rollback: ...
    @overload
    def __call__(self, operation: Literal["purge"], /, **changes: Unpack[Fields]) -> jobs.Purge: ...
    @overload
    def __call__(self, operation: str, /, **changes: Unpack[Fields]) -> jobs.Specification: ...


_KINDS = {kind.operation.value: kind for kind in get_args(jobs.Specification)}


def specification(
    operation: str, mailbox: Place, /, **values: Unpack[Fields]
) -> jobs.Specification:
    """A specification of a run.

    Raises:
        TypeError: the operation has no such field, or needs one more.
    """
    kind: Callable[..., jobs.Specification] = _KINDS[operation]
    return kind(mailbox=None if mailbox is None else str(mailbox), **values)


def fitting(operation: str, usual: Fields, changes: Fields | None = None) -> Fields:
    """Those of the usual values that the operation has a field for, and the changes to them."""
    names = {field.name for field in fields(_KINDS[operation])}
    fit = cast(Fields, {name: value for name, value in usual.items() if name in names})
    return {**fit, **(changes or Fields())}
