"""``rewrap``: exchanges the recipients of encrypted mail; no plaintext reaches a disk.

Every run walks the mailbox afresh: what is not done is opened, judged and
discarded, and what may stay as it is encrypted is replaced by the same
ciphertext for the new recipients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from sectool.errors import UsageError
from sectool.joblog import REPLACED, MessageRecord, Storage
from sectool.jobs.passes.match import Matcher
from sectool.jobs.passes.reseal import Resealing
from sectool.jobs.passes.retry import RETRIED
from sectool.jobs.passes.take_in import SAME_AGAIN, Group, Intake, is_released
from sectool.jobs.session.acknowledge import read_acknowledgements
from sectool.jobs.session.job import note_walk
from sectool.jobs.session.new_certificates import load_certificates, names_of
from sectool.jobs.session.owner import keys_for
from sectool.jobs.session.session import JobSession, Session, name_shut_key_files
from sectool.jobs.session.spec import Operation, Reason, Rewrap
from sectool.jobs.session.succession import note_history, old_side
from sectool.jobs.work.examine import ExamineArgument, Exchange
from sectool.jobs.work.open_with import is_tried_with, tried_with, workers_for
from sectool.jobs.work.sealers import FromMailbox
from sectool.keys import KeyHistory, NewRecipient
from sectool.message import Listing
from sectool.outcome import State
from sectool.progress import Progress
from sectool.summary import RewrapSummary

DONE = frozenset({State.CLEAR, State.SIGNED})
"""States of a message that has no recipients to exchange."""

_SAME_AGAIN = SAME_AGAIN | {State.READABLE, State.NOT_IN_JOB}


def _check_reason(reason: Reason) -> None:
    """Holds that new recipients are enough.

    Raises:
        UsageError: they are not.
    """
    if reason is Reason.KEY_COMPROMISE:
        raise UsageError(
            "whoever holds the old key may know the content-encryption keys, which would stay",
            hint="encrypt the mail anew: `sectool decrypt`, then `sectool encrypt`",
        )


class _Rewrap:
    """One run of ``rewrap`` on one job."""

    def __init__(
        self,
        spec: Rewrap,
        on: JobSession,
        keys: KeyHistory,
        *,
        recipients: Sequence[NewRecipient],
        new_keys: KeyHistory | None,
    ) -> None:
        job = on.job
        self._spec = spec
        self._on = on
        self._job = job
        self._log = job.log
        self._keys = keys
        self._exchange = Exchange(spec.profile, spec.or_reencrypt, names_of(recipients))
        self._tried_with = self._name(keys)
        self._total = on.summary(RewrapSummary)
        self._walk = self._intake()
        self._resealing = Resealing(
            replace(on, workers=workers_for(on.workers, keys)),
            spec,
            recipients,
            undone=spec,
            method=self._method(),
            waiting=job.log.waiting.readable,
            new_keys=new_keys,
            old_keys=keys,
            retry=self._walk.retry,
        )

    def run(self, progress: Progress) -> RewrapSummary:
        self._check_phases()
        old = old_side(self._job, self._keys)
        self._resealing.check(old, progress)
        note_history(self._job, old)
        self._resealing.replacing.sweep()
        if self._log.phase(Operation.REWRAP) is not None:
            self._match(progress)
        if not self._spec.retry:
            self._resealing.begin()
        self._log.messages.begin_walk(unseen="lost")
        self._walk.run(progress)
        self._resealing.method = self._method()
        self._resealing.run(progress)
        self._finish()
        self._resealing.prove()
        return self._summary()

    def _name(self, keys: KeyHistory) -> str:
        """Names all that decides what becomes of a message."""
        return _tried_with(tried_with(keys, self._spec.part_selection), self._exchange)

    def _method(self) -> FromMailbox:
        trials = self._walk.trials
        guesses = [guess for several in trials.guesses.values() for guess in several]
        by_part = {
            digest: tuple(one.binding for one in guesses if one.content_digest == digest)
            for digest in {one.content_digest for one in guesses}
        }
        return FromMailbox(trials.keys.material, self._exchange, self._spec.released, by_part)

    def _check_phases(self) -> None:
        if self._log.phase(Operation.ROLLBACK) is not None:
            raise UsageError(
                "this job was rolled back",
                hint="to exchange recipients after all, begin another job with another --job"
                " directory",
            )

    def _match(self, progress: Progress) -> None:
        """Finds again what earlier runs took in, and ends what an interrupted one left open."""
        matcher = Matcher(
            self._job,
            self._on.mailbox,
            workers=self._on.workers,
            cancel=self._on.cancel,
            takes_newcomers=False,
        )
        matcher.run(progress)
        self._resealing.replacing.recover()

    def _finish(self) -> None:
        if self._spec.retry:
            return
        with self._log.group():
            self._log.messages.end_walk(unseen="lost")
            note_walk(self._job, self._on.mailbox)
            # What still had its old recipients can only have been deleted by its owner.
            self._log.messages.forgive_losses(replaced=False)
            if not self._walk.leaves_work:
                self._resealing.finish_if_done()

    # --- the walk -------------------------------------------------------------------

    def _intake(self) -> Intake:
        argument = ExamineArgument(
            mailbox=self._on.mailbox.access,
            material=self._keys.material,
            tried_with=self._tried_with,
            checkpoints=None,
            released=self._spec.released,
            job=self._job.name,
            part_selection=self._spec.part_selection,
            shared=self._spec.shared,
            storage=Storage.NONE,
            exchange=self._exchange,
        )
        return Intake(
            self._on,
            self._spec,
            self._keys,
            left_out=self._total,
            argument=argument,
            tried_with=self._name,
            is_done=self._is_done,
            before_logging=_nothing_to_write,
            is_settled=self._is_changed,
        )

    def _is_done(self, known: MessageRecord, listing: Listing) -> bool:
        if self._log.replacements.is_open(known.message):
            return True  # of its two copies the one that was there first; its state says why
        if known.listing.hint != listing.hint:
            return False
        if known.state is State.REVIEW and is_released(self._job, known, self._spec.released):
            return False
        if known.state in DONE or known.is_replaced:
            return True
        same_again = known.state in _SAME_AGAIN and is_tried_with(
            known.tried_with, self._tried_with
        )
        return same_again and not (self._spec.retry and known.state in RETRIED)

    def _is_changed(self, listing: Listing) -> bool:
        """Whether it is what somebody made of a message that was replaced: reported, not redone."""
        message = self._log.messages.changed_at(listing.ref)
        if message is not None:
            self._log.messages.see(message)
        return message is not None

    def _summary(self) -> RewrapSummary:
        summary = self._total
        self._resealing.describe(summary)
        self._walk.describe(summary)
        summary.left_folders += self._walk.failures.left.values()
        summary.retried = self._walk.retry.outcome(DONE | REPLACED)
        return summary


def _nothing_to_write(_: Group) -> None:
    pass


def _tried_with(keys: str, exchange: Exchange) -> str:
    """Names a key history and an exchange."""
    names = sorted(map(repr, exchange.new))
    words = (keys, exchange.profile.value, str(exchange.or_reencrypt), *names)
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()


def rewrap(spec: Rewrap, session: Session) -> RewrapSummary:
    """Replaces every encrypted message by the same one for the new recipients.

    In a dry run the job is a rehearsal: everything is opened, nothing replaced. With
    new keys all that was replaced is opened through them in the end.

    Raises:
        UsageError: the job was begun with other recipients, or rolled back.
        CertificateUnusable: the new certificates are not of the person whose mail it is.
        ReadOnlyMailbox: the mailbox cannot be written.
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    _check_reason(spec.reason)
    acknowledged = read_acknowledgements(spec.acknowledge)
    recipients = load_certificates(spec, spec.keys, session.progress, session.ask)
    new_keys = session.any_history(spec.verify_keys)
    on = session.take_in(spec)
    on.acknowledge(acknowledged)
    keys = keys_for(spec, on.job, session.history(spec.keys), session.progress)
    bound = keys.bind(on.job.log.bindings.all())
    one = _Rewrap(spec, on, bound, recipients=recipients, new_keys=new_keys)
    summary = one.run(session.progress)
    if summary.missing_a_key:
        name_shut_key_files(summary, keys)
    return summary
