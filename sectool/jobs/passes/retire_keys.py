"""Tells of old keys whether any message of the mailbox may need them.

Every message is read, whatever the job log says of it, so that nobody has to trust
the log. Of what the mailbox no longer has, only the log knows. Messages that sectool
replaced are looked into, since an envelope inside the envelope kept its old recipients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime

from sectool.joblog import PASSED_OVER, Standing
from sectool.jobs.passes.selection import count
from sectool.jobs.session.acknowledge import GiveUp, whoever_runs_this
from sectool.jobs.session.job import Job
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import Cancel
from sectool.jobs.work.needed_keys import (
    A_BACKUP,
    A_LOOK,
    FIND_NEEDS,
    NEW_KEYS,
    NOT_LOOKED_AT,
    Finding,
    NeedArgument,
    Needs,
    NeedTask,
)
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.search_layers import names_of_key
from sectool.jobs.work.work import NotDone
from sectool.keys import HeldKey, KeyHistory, newest_entry
from sectool.mailbox import Mailbox
from sectool.message import Listing
from sectool.outcome import Identity, RecipientKey, State
from sectool.progress import Progress
from sectool.retirement import Answer, Claim, GivenUp, LookedAt
from sectool.summary import RetiredKey
from sectool.values import dataclass


def retire(
    on: JobSession,
    retired: KeyHistory,
    current: KeyHistory | None,
    *,
    given_up: Sequence[GiveUp],
    accept_unproven: bool,
) -> list[RetiredKey]:
    """One answer for each key of ``retired``, after a walk that matched the job.

    Args:
        on: the log says which messages were replaced, how that was proven, and what a
            person gave up; what was answered is noted there. The mailbox is read whole,
            whatever the selection is.
        retired: the old keys.
        current: the new keys; None: what names an old key needs it.
        given_up: what a person gives up now.
        accept_unproven: a structural proof is enough.
    """
    evidence = _Evidence(on.job, on.mailbox, on.cancel)
    on.progress.begin("retire", count(on.mailbox, on.progress, on.cancel))
    argument = NeedArgument(
        mailbox=on.mailbox.access,
        retired=retired.material,
        current=None if current is None else current.material,
        checkpoints=on.job.place,
    )
    workers = workers_for(on.workers, retired, current)
    for task, answer in FIND_NEEDS.run(evidence.tasks(), argument, workers=workers):
        evidence.add(task.listing, answer)
        on.progress.advance()
    on.progress.end()
    evidence.add_what_the_log_knows(accept_unproven=accept_unproven)
    with on.job.log.group():
        answers = _Answers(on.job, retired, evidence, given_up)
        answers.take_down(on.progress)
        keys = answers.all()
        on.job.log.give_ups.note_answers(keys)
    return keys


@dataclass(slots=True)
class _Grounds:
    """One message, or what may be one, and what in it speaks for keeping old keys."""

    claim: Claim
    """All that is told of it beside the answer."""
    findings: list[Finding]
    told: dict[Finding, Claim] = field(default_factory=dict)
    """A message without the new keys speaks for keeping each old one, in the same words."""

    def by(self, finding: Finding) -> Claim:
        """What is told of it where this is the worst of its findings."""
        if finding not in self.told:
            self.told[finding] = replace(
                self.claim,
                answer=finding.answer,
                reason=finding.reason,
                remedy=finding.remedy,
            )
        return self.told[finding]


@dataclass(slots=True)
class _Evidence:
    """What was found in the mailbox and in the log."""

    job: Job
    mailbox: Mailbox
    cancel: Cancel
    messages: int = 0
    folders: int = 0
    grounds: dict[str, _Grounds] = field(default_factory=dict)
    """By folder and place, or by identity where there is no place."""

    def tasks(self) -> Iterator[NeedTask]:
        """Every message of the mailbox."""
        for folder in self.mailbox.folders():
            self.folders += 1
            for listing in self.mailbox.walk(folder):
                self.cancel.check()
                self.messages += 1
                known = self.job.log.messages.at(listing.ref)
                task = NeedTask(
                    listing, (), is_new=known is None or known.state is State.NOT_IN_JOB
                )
                if known is not None and known.is_replaced:
                    parts = self.job.log.messages.parts
                    kept = parts.of([known.message]).get(known.message, ())
                    checkpoints = tuple((one.path, one.checkpoint.content_digest) for one in kept)
                    resealed = parts.layers.resealed(known.message)
                    task = replace(task, checkpoints=checkpoints, resealed=resealed)
                yield task

    def add(self, listing: Listing, answer: Needs | NotDone) -> None:
        """What a worker found in one message, or that it died of it."""
        if isinstance(answer, NotDone):
            reason = f"{NOT_LOOKED_AT}: {answer.reason}"
            answer = Needs((Finding(Answer.UNCLEAR, reason, A_LOOK),))
        if not answer.findings:
            return
        known = self.job.log.give_ups.at(listing.ref)
        claim = _claim(known) if known else Claim(Answer.UNCLEAR, "", "")
        claim = replace(
            claim,
            folder=listing.ref.folder,
            ref=listing.ref.key,
            message_id=answer.message_id or claim.message_id,
            date=answer.date or claim.date or _date(listing),
            identity=claim.identity or answer.identity,
        )
        self._add(str(listing.ref), claim, answer.findings)

    def add_what_the_log_knows(self, *, accept_unproven: bool) -> None:
        """Messages that are lost or not proven, and files that were passed over."""
        table = self.job.log.give_ups
        lost = Finding(
            Answer.UNCLEAR,
            "it is lost, and has its old recipients wherever it is",
            f"{A_BACKUP}, or `encrypt --accept-lost`",
        )
        for standing in table.lost():
            self._add(f"lost {standing.identity}", _claim(standing), (lost,))
        unproven = Finding(
            Answer.UNCLEAR,
            "it was replaced, and no new key has opened it yet",
            f"{NEW_KEYS}, or --accept-unproven",
        )
        for standing in () if accept_unproven else table.unproven():
            self._add(str(standing.listing.ref), _claim(standing), (unproven,))
        passed_over = Finding(
            Answer.UNCLEAR,
            "it may be mail and was passed over",
            f"{self.mailbox.passed_over_hint}; or {A_LOOK}",
        )
        for path in self.mailbox.passed_over:
            digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
            claim = Claim(
                Answer.UNCLEAR, "", "", ref=path, identity=Identity(f"{PASSED_OVER}{digest}")
            )
            self._add(claim.identity, claim, (passed_over,))

    def _add(self, place: str, claim: Claim, findings: Sequence[Finding]) -> None:
        self.grounds.setdefault(place, _Grounds(claim, [])).findings.extend(findings)

    def against(self, number: int) -> Iterator[Claim]:
        """What speaks for keeping one old key: each message once, by its worst."""
        for grounds in self.grounds.values():
            own = [one for one in grounds.findings if one.keys is None or number in one.keys]
            if own:
                worst = Answer.worst(one.answer for one in own)
                yield grounds.by(next(one for one in own if one.answer is worst))


def _date(listing: Listing) -> str:
    return listing.internal_date.isoformat() if listing.internal_date else ""


def _claim(standing: Standing) -> Claim:
    return Claim(
        Answer.UNCLEAR,
        "",
        "",
        folder=standing.listing.ref.folder,
        ref=standing.listing.ref.key,
        message_id=standing.message_id,
        date=_date(standing.listing),
        identity=standing.identity,
        acknowledged=standing.acknowledged,
    )


class _Answers:
    """The answers for old keys, with what a person gave up."""

    def __init__(
        self, job: Job, retired: KeyHistory, evidence: _Evidence, given_up: Sequence[GiveUp]
    ) -> None:
        self._job = job
        self._keys = retired.keys
        self._given_up = given_up
        mailbox = evidence.mailbox.specification.url
        now = datetime.now(UTC).replace(microsecond=0)
        self._looked_at = LookedAt(mailbox, evidence.messages, evidence.folders, now)
        self._claims = [
            [*self._of_the_job(key), *evidence.against(number)]
            for number, key in enumerate(self._keys)
        ]

    def _of_the_job(self, key: HeldKey) -> Iterator[Claim]:
        """The plaintext in the job directory may be sealed to an old key."""
        sealed_to = self._job.place.sealed_to if self._job.log.messages.parts.sealed(1) else ()
        if not {one.fingerprint for one in key.certificates}.isdisjoint(sealed_to):
            yield Claim(
                Answer.NEEDED,
                "the job's checkpoints are sealed to it",
                "purging them, once all is encrypted to the new keys",
            )

    def take_down(self, progress: Progress) -> None:
        """Logs what a person gives up now, of what speaks for keeping a key."""
        table, who = self._job.log.give_ups, whoever_runs_this()
        unmatched: list[GiveUp] = []
        for one in self._given_up:
            matched = [
                key
                for key, claims in zip(self._keys, self._claims, strict=True)
                if key.public_key_digest in one.public_keys
                and any(claim.identity == one.identity for claim in claims)
            ]
            for key in matched:
                digest = key.public_key_digest
                table.add(one.identity, digest, one.reason, who, names_of_key(key))
            if not matched:
                unmatched.append(one)
        if unmatched:
            progress.warn(
                f"{len(unmatched)} of {len(self._given_up)} messages given up speak against no"
                f" such key, such as line {unmatched[0].line}; that was not taken down",
                hint="they may be done, or of another job",
            )

    def all(self) -> list[RetiredKey]:
        """One for each key, in order."""
        return [self._of(key, found) for key, found in zip(self._keys, self._claims, strict=True)]

    def _of(self, key: HeldKey, found: list[Claim]) -> RetiredKey:
        digest = key.public_key_digest
        known = self._job.log.give_ups.of(digest)
        claims: list[Claim] = []
        given_up: list[GivenUp] = []
        for claim in found:
            if claim.identity in known:
                given_up.append(replace(known[claim.identity], claim=claim))
            else:
                claims.append(claim)
        entry = newest_entry(key)
        return RetiredKey(
            key=RecipientKey(entry.issuer, entry.serial_number, entry.subject_key_identifier),
            file=key.source.name,
            public_key=digest,
            needed=sum(claim.answer is Answer.NEEDED for claim in claims),
            unclear=sum(claim.answer is Answer.UNCLEAR for claim in claims),
            given_up=tuple(given_up),
            looked_at=self._looked_at,
            claims=tuple(sorted(claims, key=lambda claim: claim.answer is not Answer.NEEDED)),
        )
