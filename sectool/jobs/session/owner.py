"""Whose mailbox it is: that of one person, with their keys alone, or one that several people read.

An encrypted part that somebody else's key opens may be a stolen ciphertext in a mail of a
thief, who would get it for a key of their own.
"""

from __future__ import annotations

from sectool.errors import UsageError
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import TakingRun
from sectool.jobs.work.addresses import address_digests
from sectool.keys import KeyHistory, Person, keys_of, people_of
from sectool.progress import Progress
from sectool.summary import Summary

SHARED = "shared"
"""Value of the job: ``yes`` where several people read the mailbox, else ``no``; absent before
the first run."""

OWNERS = "owners"
"""Value of the job: digests of the addresses of those whose keys were used, a space between."""

_SHOWN = 4
"""People who are told by an address."""

_ASK = (
    "say whose mailbox it is: --owner ADDRESS, repeated for each of their addresses;"
    " or --shared where several people read it"
)


def is_shared(job: Job) -> bool:
    """Whether several people read the mailbox of a job, so that a part is not everybody's."""
    return job.log.value(SHARED) == "yes"


def keys_for(
    spec: TakingRun[Summary], job: Job, keys: KeyHistory, progress: Progress
) -> KeyHistory:
    """The keys that a run may use on the mailbox, all of one person unless it is shared.

    Args:
        spec: ``owners`` and ``shared``.
        job: keeps to what its first run said of ``shared``.
        keys: all that were given.
        progress: told how many keys are left out.

    Raises:
        UsageError: the keys are of several people, and nobody said whose mailbox it is; or of
            another person than those of the runs before.
    """
    _check(spec, job)
    people = people_of(keys)
    chosen = keys
    if spec.owners:
        chosen = _keys_of_owner(spec, keys, people, progress)
    elif len(people) > 1 and not spec.shared:
        raise UsageError(f"the keys are of {len(people)} people: {_told(people)}", hint=_ASK)
    addresses = {*spec.owners, *(one for person in people_of(chosen) for one in person.addresses)}
    _note(spec, job, address_digests(job.name, addresses))
    return chosen


def _note(spec: TakingRun[Summary], job: Job, owners: frozenset[str]) -> None:
    """Holds that the keys are those of the same person as before, and notes whose they are.

    What one run opened with one person's keys must not go to another's certificate since the
    next run had theirs.
    """
    before = frozenset((job.log.value(OWNERS) or "").split())
    if not spec.shared and before and owners and before.isdisjoint(owners):
        raise UsageError(
            "this job was begun with the keys of another person",
            hint="begin another job with another --job directory; or, if it is the same person,"
            " name both addresses: --owner OLD --owner NEW",
        )
    with job.log.group():
        job.log.set_value(SHARED, "yes" if spec.shared else "no")
        job.log.set_value(OWNERS, " ".join(sorted(before | owners)))


def _check(spec: TakingRun[Summary], job: Job) -> None:
    if spec.shared and spec.owners:
        raise UsageError(
            "a mailbox is one person's or several people's",
            hint="leave out --owner, or --shared",
        )
    if job.log.value(SHARED) not in {None, "yes" if spec.shared else "no"}:
        was, remedy = ("one person's", "leave out") if spec.shared else ("shared", "add")
        raise UsageError(
            f"this job was begun on a mailbox as {was}",
            hint=f"{remedy} --shared, or begin another job with another --job directory",
        )


def _keys_of_owner(
    spec: TakingRun[Summary], keys: KeyHistory, people: tuple[Person, ...], progress: Progress
) -> KeyHistory:
    chosen = keys_of(keys, spec.owners)
    if len(keys) and not len(chosen):
        raise UsageError(
            f"no key names {' or '.join(spec.owners)}: they are of {_told(people)}", hint=_ASK
        )
    if left := len(keys) - len(chosen):
        progress.warn(
            f"{left} of {len(keys)} keys are left out: their certificates do not name"
            f" {' or '.join(spec.owners)}",
            hint="a key without certificate is left out as well where the others are of"
            " several people: give its certificate, too",
        )
    return chosen


def _told(people: tuple[Person, ...]) -> str:
    shown = [person.addresses[0] for person in people[:_SHOWN]]
    more = [f"{len(people) - _SHOWN} more"] if len(people) > _SHOWN else []
    return ", ".join([*shown, *more]) or "nobody in particular"
