"""The answers for old keys: which mail may need them, and where nobody looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, field
from typing import Any

from sectool.cli.words.layout import columns_of, counted, key_name, shorten, table, wrapped
from sectool.outcome import PublicKeyDigest
from sectool.retirement import NOT_LOOKED_AT, Answer, Claim, GivenUp
from sectool.summary import RetiredKey, VerifySummary
from sectool.values import dataclass

_FILE = 24
"""Columns of the name of a key file that are not broken in the table."""

_REASON = 100
"""Columns of a reason in the table; the messages that it is given for have all of it."""

LISTED = 20
"""Messages that speak for keeping keys are listed up to this number; JSON lists them all."""


def as_json(summary: VerifySummary) -> dict[str, Any]:
    """Members of the document of the command contract; none where nobody asked."""
    if summary.retire is None:
        return {}
    lists = summary.phase == "verify"
    document: dict[str, Any] = {"retire": [_key(key, lists=lists) for key in summary.retire]}
    if summary.retire:
        looked_at = summary.retire[0].looked_at
        document["looked_at"] = {
            "mailbox": looked_at.mailbox,
            "messages": looked_at.messages,
            "folders": looked_at.folders,
            "at": looked_at.at.isoformat(),
            "not_looked_at": list(NOT_LOOKED_AT),
        }
    return document


def _key(key: RetiredKey, *, lists: bool) -> dict[str, Any]:
    document = {
        **_named(key),
        "answer": key.answer.value,
        "reason": reason(key),
        "messages": key.needed,
        "counts": {
            "needed": key.needed,
            "unclear": key.unclear,
            "given_up": len(key.given_up),
        },
        "given_up": [_given_up(one) for one in key.given_up],
    }
    if lists:
        for answer in (Answer.NEEDED, Answer.UNCLEAR):
            own = [claim for claim in key.claims if claim.answer is answer]
            document[answer.value] = [_claim(claim) for claim in own]
    return document


def _named(key: RetiredKey) -> dict[str, Any]:
    return {
        **asdict(key.key),
        "file": key.file,
        "public_key": key.public_key,
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "folder": claim.folder,
        "ref": claim.ref,
        "date": claim.date or None,
        "message_id": claim.message_id,
        "identity": claim.identity,
        "reason": claim.reason,
        "settled_by": claim.remedy,
        "acknowledged": claim.acknowledged,
    }


def _given_up(one: GivenUp) -> dict[str, Any]:
    document: dict[str, Any] = {
        "identity": one.identity,
        "reason": one.reason,
        "by": one.by_whom,
        "at": one.at.isoformat(),
    }
    if one.claim is not None:
        document["was"] = {"answer": one.claim.answer.value, **_claim(one.claim)}
    return document


def reason(key: RetiredKey) -> str:
    """The answer for one key in words, without where nobody looked."""
    if key.answer is Answer.NOT_NEEDED:
        return ", but for ".join([Answer.NOT_NEEDED, *_but_for(key.given_up)])
    parts = []
    if key.needed:
        parts.append(f"{counted(key.needed, 'message')} need{'s' if key.needed == 1 else ''} it")
    if key.unclear:
        parts.append(f"of {counted(key.unclear, 'message')} it is unclear")
    parts += _but_for(key.given_up)
    return ", ".join(parts)


def _but_for(given_up: Sequence[GivenUp]) -> list[str]:
    """What was given up and when, or nothing."""
    if not given_up:
        return []
    days = sorted({one.at.date().isoformat() for one in given_up})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [f"{counted(len(given_up), 'message')} given up on {when}"]


# --- for a person ---------------------------------------------------------------------------


def as_table(keys: Sequence[RetiredKey]) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if not keys:
        yield "no old key was read, so nothing is said of any"
        return
    yield from _answers(keys)
    looked_at = keys[0].looked_at
    looked = (
        f"looked at {counted(looked_at.messages, 'message')} in"
        f" {counted(looked_at.folders, 'folder')} on {looked_at.at:%Y-%m-%d}"
    )
    free = [key for key in keys if key.answer is Answer.NOT_NEEDED]
    if free:
        who = "this key" if len(keys) == 1 else "the keys called not needed here"
        but = ", but for what was given up" if any(key.given_up for key in free) else ""
        text = f"  no mail in {looked_at.mailbox} needs {who}{but} ({looked})"
        yield from wrapped(text, indent=4)
    else:
        yield from wrapped(f"  {looked_at.mailbox}: {looked}", indent=4)
    yield from _not_looked_at()
    yield from _claims(keys)


def _answers(keys: Sequence[RetiredKey]) -> Iterable[str]:
    rows = [(key_name(key.key), key.file, _in_short(key), _why(key)) for key in keys]
    # The name of a file is whole where the others can give way.
    is_long = any(columns_of(key.file) > _FILE for key in keys)
    yield from table(
        ("old key", "file", "answer", "reason"), rows, gives_way=(0, 1, 3) if is_long else (0, 3)
    )
    for key in keys:
        if key.given_up:
            yield from wrapped(f"  {key.file}: {reason(key)}", indent=4)


def _in_short(key: RetiredKey) -> str:
    if key.answer is Answer.NOT_NEEDED:
        return f"{key.answer}{', but for' if key.given_up else ''}"
    return f"{key.answer} ({counted(key.needed or key.unclear, 'message')})"


def _why(key: RetiredKey) -> str:
    """The commonest reason of the messages that speak for keeping a key."""
    reasons = Counter(claim.reason for claim in key.claims)
    if not reasons:
        return ""
    ((first, _),) = reasons.most_common(1)
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{shorten(first, _REASON)}{more}"


def _not_looked_at() -> Iterable[str]:
    yield from wrapped(f"  not looked at: {', '.join(NOT_LOOKED_AT)}", indent=4)


def _claims(keys: Sequence[RetiredKey]) -> Iterable[str]:
    """Messages that speak for keeping keys; those that speak for several alike, once."""
    alike: dict[tuple[int, ...], list[RetiredKey]] = {}
    for key in keys:
        if key.claims:
            alike.setdefault(tuple(map(id, key.claims)), []).append(key)
    for group in alike.values():
        claims = group[0].claims
        files = ", ".join(dict.fromkeys(key.file for key in group))
        yield ""
        yield from wrapped(f"for keeping {files} ({len(claims)})", indent=2)
        for key in group[:LISTED]:
            yield f"  key    {key.public_key}"
        for claim in claims[:LISTED]:
            yield from _about(claim)
        if len(claims) > LISTED:
            yield f"  and {len(claims) - LISTED} more: --json lists them all"


def _about(claim: Claim) -> Iterable[str]:
    place = claim.message_id or claim.ref or "the job directory"
    words = (claim.answer.value, claim.folder, claim.date[:10], place)
    yield from wrapped("  ".join(word for word in words if word), first=2, indent=11)
    for text in (claim.reason, f"settled by: {claim.remedy}"):
        yield from wrapped(text, first=11, indent=11)
    if claim.identity:
        yield f"  called {claim.identity}"


# --- of several jobs ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobAnswers:
    """What one of several jobs says of old keys."""

    job: str
    keys: Sequence[RetiredKey] | None
    """None: it could not be looked at, so that any key may be needed."""


@dataclass(frozen=True, slots=True)
class Combined:
    """One old key, and what each of several jobs says of it, in their order."""

    key: RetiredKey
    answers: list[Answer] = field(default_factory=list)
    given_up: list[GivenUp] = field(default_factory=list)

    @property
    def answer(self) -> Answer:
        """The one answer of all."""
        return Answer.worst(self.answers)

    @property
    def reason(self) -> str:
        """The same in words."""
        joint = ", but for " if self.answer is Answer.NOT_NEEDED else ", "
        return joint.join([self.answer, *_but_for(self.given_up)])

    @property
    def in_short(self) -> str:
        """The same in a few."""
        return f"{self.answer}, but for" if ", but for " in self.reason else self.answer


def combined(jobs: Sequence[JobAnswers]) -> Iterable[Combined]:
    """Each key once, by its public half."""
    found: dict[PublicKeyDigest, Combined] = {}
    for job in jobs:
        for key in job.keys or ():
            found.setdefault(key.public_key, Combined(key))
    for job in jobs:
        own = {key.public_key: key for key in job.keys or ()}
        for public_key, combined in found.items():
            said = own.get(public_key)
            combined.answers.append(said.answer if said else Answer.UNCLEAR)
            combined.given_up.extend(said.given_up if said else ())
    return found.values()


def combined_json(jobs: Sequence[JobAnswers]) -> list[dict[str, Any]]:
    """One answer for each key over all jobs, and what each of them says."""
    return [
        {
            **_named(one.key),
            "answer": one.answer.value,
            "reason": one.reason,
            "jobs": [
                {"job": job.job, "answer": answer.value}
                for job, answer in zip(jobs, one.answers, strict=True)
            ],
        }
        for one in combined(jobs)
    ]


def combined_table(jobs: Sequence[JobAnswers]) -> Iterable[str]:
    """The same for a person."""
    answers = list(combined(jobs))
    rows = [
        (
            key_name(one.key.key),
            one.key.file,
            one.in_short,
            _where(jobs, one.answers),
        )
        for one in answers
    ]
    yield from table(
        ("old key", "file", f"in {len(jobs)} jobs", "so says"), rows, gives_way=(0, 1, 3)
    )
    for one in answers:
        if one.given_up:
            yield from wrapped(f"  {one.key.file}: {one.reason}", indent=4)
    yield from _not_looked_at()


def _where(jobs: Sequence[JobAnswers], answers: Sequence[Answer]) -> str:
    worst = Answer.worst(answers)
    saying = [job.job for job, answer in zip(jobs, answers, strict=True) if answer is worst]
    if len(saying) == len(jobs):
        return "each of them"
    more = f" and {len(saying) - 1} more" if len(saying) > 1 else ""
    return f"{shorten(saying[0], 24)}{more}"
