"""What the first replacement of a phase fixes for the rest of it.

Half a mailbox for one set of keys and half for another is what nobody wants,
so a run with other parameters is refused and told which; ``--restart-phase``
takes the new ones, and what was encrypted with the former is encrypted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sectool.cms import Profile
from sectool.errors import UsageError
from sectool.jobs.session.spec import Operation
from sectool.keys import NewRecipient

NOT_FIXED = ""
"""Options of a phase that has replaced nothing yet: a later run may choose others."""

_SHOWN = 16
"""Digits of a fingerprint that are told."""


def options_of(recipients: Sequence[NewRecipient], profile: Profile) -> str:
    """Recipients and profile as the log keeps them."""
    fingerprints = sorted(recipient.fingerprint for recipient in recipients)
    return json.dumps({"to": fingerprints, "profile": profile.value}, sort_keys=True)


def check_fixed(fixed: str, wanted: str, operation: Operation) -> None:
    """Holds that a run has the parameters that the first replacement fixed.

    Args:
        fixed: as ``options_of`` gave them then, or ``NOT_FIXED``.
        wanted: those of this run.
        operation: the phase; only ``encrypt`` has kept what it can start over from.

    Raises:
        UsageError: they differ; it names each that does, with both values.
    """
    if fixed in {NOT_FIXED, wanted}:
        return
    told = "; ".join(_differences(json.loads(fixed), json.loads(wanted)))
    hint = "give the same as before"
    if operation is Operation.ENCRYPT:
        hint += ", or add --restart-phase to encrypt all of it anew"
    else:
        hint += ", or undo it with `sectool rollback` and begin another job"
    raise UsageError(
        f"this job was begun with other recipients or another profile: {told}", hint=hint
    )


def _differences(fixed: dict[str, object], wanted: dict[str, object]) -> Iterator[str]:
    for name in sorted(fixed.keys() | wanted.keys(), reverse=True):
        before, now = fixed.get(name), wanted.get(name)
        if before != now:
            yield f"--{name} was {_told(before)} and is {_told(now)}"


def _told(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{text[:_SHOWN]}…" for text in value)
    return str(value)
