"""Tries the keys at hand on certificates that are not, after a walk has found which mail names.

A key may have been certified more than once, and the mail name a certificate that
nobody kept. What is tried is a certificate, with a few of the messages that name it,
and not every message: a mailbox names thousands of other people's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import field, replace

from sectool import cms
from sectool.joblog import Examination
from sectool.jobs.session.spec import Cancel
from sectool.jobs.work.examine import (
    ExamineArgument,
    Examined,
    ExamineTask,
    UnknownRecipient,
)
from sectool.jobs.work.open_with import workers_for
from sectool.jobs.work.trials import TRY_KEYS, TrialTask, Tried
from sectool.jobs.work.work import NotDone
from sectool.keys import HeldKey, KeyHistory
from sectool.message import Listing, MessageRef
from sectool.outcome import (
    Binding,
    ContentDigest,
    Identity,
    PublicKeyDigest,
    State,
)
from sectool.progress import Progress
from sectool.summary import BoundKey, NotTried, OpeningSummary
from sectool.values import dataclass

SCAN_OPERATIONS = 500
"""Private-key operations that a scan spends on trials: under a second in software."""

RUN_OPERATIONS = 5_000
"""The same of a run that opens mail to keep or to exchange its recipients: some seconds."""

OCTETS_PER_OPERATION = 16 * 1024
"""Bytes of mail that are read for trials, on average: each reads its message anew."""

CERTIFICATES_PER_MESSAGE = 16
"""Unknown certificates that one message is tried on; beyond, others that name them are."""

MESSAGES = 3
"""Messages that are tried for one certificate."""

ENOUGH = 2
"""Messages that must open where the decryption itself proves nothing."""

RESERVE = 10
"""One part in so many of the operations, two at least, is kept for what has opened once."""

CERTIFICATES = 50_000
"""Unknown certificates that are kept count of; beyond, those that one message names are left."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A key that opened one message on trial, where that is not enough to bind it."""

    content_digest: ContentDigest
    """Of the part that it opened."""
    binding: Binding


@dataclass(slots=True)
class UnknownCertificate:
    """What is known of a certificate that is not at hand."""

    keys: tuple[HeldKey, ...]
    """To try, in this order."""
    on_tokens: bool
    """Whether a key on a token might be the one, and is not to be tried."""
    messages: int = 0
    listings: dict[Identity, Listing] = field(default_factory=dict)
    """Up to ``MESSAGES`` of them, by identity: a copy proves nothing more."""
    tried: int = 0
    opened: dict[PublicKeyDigest, set[ContentDigest]] = field(default_factory=dict)
    """Content digests that each key opened."""
    guesses: dict[MessageRef, tuple[ContentDigest, PublicKeyDigest]] = field(default_factory=dict)
    """Content digest and key of each message that opened, or is for a person to look at."""
    proven: PublicKeyDigest = PublicKeyDigest("")
    """The key that proved itself."""

    @property
    def bound(self) -> PublicKeyDigest:
        """The key that its mail counts as mail to; empty: none."""
        enough = [key for key, digests in self.opened.items() if len(digests) >= ENOUGH]
        return self.proven or (
            enough[0] if len(enough) == len(self.opened) == 1 else PublicKeyDigest("")
        )

    def take(self, ref: MessageRef, tried: Tried) -> None:
        """Notes what came of a trial on a message."""
        self.tried += 1
        for key in tried.opens:
            self.opened.setdefault(key, set()).add(tried.content_digest)
        if tried.is_proven:
            self.proven = tried.opens[0]
        for key in (*tried.opens, *tried.for_review)[:1]:
            self.guesses[ref] = tried.content_digest, key


class Trials:
    """Collects unknown certificates during a walk, and tries keys on them afterwards.

    Args:
        keys: the key history.
        operations: private-key operations that may be spent.

    Attributes:
        keys: the same history with what was found.
        bindings: what was found.
        guesses: what opened alone, by message.
    """

    def __init__(self, keys: KeyHistory, operations: int) -> None:
        self.keys = keys
        self.bindings: tuple[Binding, ...] = ()
        self.guesses: dict[MessageRef, tuple[Guess, ...]] = {}
        # By kind as well: what somebody's message asks for in its name says nothing of others.
        self._certificates: dict[UnknownRecipient, UnknownCertificate] = {}
        self._kinds: dict[cms.KeyKind, tuple[tuple[HeldKey, ...], bool]] = {}
        self._operations = operations
        self._reserve = max(2, operations // RESERVE)
        self._octets = operations * OCTETS_PER_OPERATION
        self._tried_on: Counter[str] = Counter()  # by the identity of the message
        self._not_tried = NotTried(operations=operations)
        self._files = {key.public_key_digest: key for key in keys.keys}

    # --- during the walk ------------------------------------------------------------------

    def saw(self, examined: Examined) -> tuple[UnknownCertificate, ...]:
        """Takes down what a message names that stayed shut; those on which a trial may open it."""
        examination = examined.examination
        if examination is None or examination.state is State.NOT_IN_JOB:
            return ()
        named: list[UnknownCertificate] = []
        for unknown in dict.fromkeys(examined.unknown):
            certificate = self._certificate(unknown)
            if certificate is None:
                continue
            certificate.messages += 1
            if certificate.keys:
                named.append(certificate)
            if len(certificate.listings) < MESSAGES:
                certificate.listings[examination.identity] = examination.listing
        return tuple(named)

    def _certificate(self, unknown: UnknownRecipient) -> UnknownCertificate | None:
        """None: no key at hand could be of this certificate."""
        known = self._certificates.get(unknown)
        if known is None:
            keys, on_tokens = self._of_kind(unknown.kind)
            if not keys and not on_tokens:
                return None
            if len(self._certificates) >= CERTIFICATES and not self._forget():
                self._leave(UnknownCertificate(keys, on_tokens, messages=1))
                return None
            known = self._certificates[unknown] = UnknownCertificate(keys, on_tokens)
        return known

    def _forget(self) -> bool:
        """Whether there is room again, since what one message names was left."""
        once = [name for name, one in self._certificates.items() if one.messages == 1]
        for name in once:
            self._leave(self._certificates.pop(name))
        return bool(once)

    def _leave(self, certificate: UnknownCertificate) -> None:
        self._not_tried.certificates += 1
        self._not_tried.messages += certificate.messages

    def _of_kind(self, kind: cms.KeyKind) -> tuple[tuple[HeldKey, ...], bool]:
        """The keys to try, and whether there are others on tokens."""
        if kind not in self._kinds:
            fitting = [
                key
                for key in self.keys.keys
                if (key.certificates or self.keys.tries_unnamed_keys)
                and kind.fits(cms.kind_of_key(key.public_key_info))
            ]
            software = [key for key in fitting if not key.operations.is_on_token]
            on_tokens = [key for key in fitting if key.operations.is_on_token]
            if self.keys.tries_tokens:
                software, on_tokens = software + on_tokens, []
            self._kinds[kind] = tuple(software), bool(on_tokens)
        return self._kinds[kind]

    # --- afterwards -----------------------------------------------------------------------

    def run(
        self, argument: ExamineArgument, *, workers: int, progress: Progress, cancel: Cancel
    ) -> None:
        """Tries the keys, the certificates that most messages name first.

        Args:
            argument: how the messages were examined.
            workers: processes; 0: this one.
            progress: told.
            cancel: asked between messages.
        """
        if not any(one.keys for one in self._certificates.values()):
            return
        progress.begin("try keys", None)
        for number in range(MESSAGES):
            tasks, processes = list(self._next(number)), workers_for(workers, self.keys)
            for task, answer in TRY_KEYS.run(tasks, argument, workers=processes):
                if not isinstance(answer, NotDone):
                    unknown = UnknownRecipient(task.recipient, task.kind)
                    self._certificates[unknown].take(task.listing.ref, answer)
                progress.advance()
                cancel.check()
        progress.end()
        self._decide()

    def _next(self, number: int) -> Iterator[TrialTask]:
        """One message of each certificate that is not decided yet, as far as operations go."""
        order = sorted(
            self._certificates.items(),
            key=lambda item: (-bool(item[1].opened), -item[1].messages),
        )
        for unknown, certificate in order:
            if certificate.bound or number >= len(certificate.listings):
                continue
            identity, listing = list(certificate.listings.items())[number]
            keys, most = tuple(certificate.opened), self._operations
            if not keys:
                keys = tuple(key.public_key_digest for key in certificate.keys)
                most -= self._reserve
                if self._is_enough(identity, listing.size * len(keys)):
                    continue
            if 0 < len(keys) <= most:
                self._operations -= len(keys)
                self._octets -= listing.size * len(keys)
                self._tried_on[identity] += 1
                yield TrialTask(listing, unknown.recipient, unknown.kind, keys)

    def _is_enough(self, identity: Identity, octets: int) -> bool:
        """Whether a message has been tried on enough certificates, or too much has been read.

        One large message may always be tried.
        """
        is_spent = octets > self._octets and bool(self._tried_on)
        return is_spent or self._tried_on[identity] >= CERTIFICATES_PER_MESSAGE

    def _decide(self) -> None:
        bindings: list[Binding] = []
        for unknown, certificate in self._certificates.items():
            recipient = unknown.recipient
            if certificate.bound:
                bindings.append(Binding(recipient, certificate.bound))
                continue
            for ref, (digest, key) in certificate.guesses.items():
                guess = Guess(digest, Binding(recipient, key))
                self.guesses[ref] = (*self.guesses.get(ref, ()), guess)
        self.bindings = tuple(bindings)
        self.keys = self.keys.bind(bindings)

    def task(self, listing: Listing) -> ExamineTask:
        """Looks at a message once more, with what was found."""
        guesses = tuple(guess.binding for guess in self.guesses.get(listing.ref, ()))
        return ExamineTask(listing, guesses=guesses)

    def named_by(self, examinations: Iterable[Examination]) -> list[Listing]:
        """Where messages lie that what was found is of use to."""
        bound = {binding.recipient for binding in self.bindings}
        return [
            one.listing
            for one in examinations
            if one.ref in self.guesses or not bound.isdisjoint(one.recipients)
        ]

    def argument(self, argument: ExamineArgument, tried_with: str) -> ExamineArgument:
        """How messages are examined with what was found."""
        return replace(argument, material=self.keys.material, tried_with=tried_with)

    # --- what is told ----------------------------------------------------------------------

    def describe(self, summary: OpeningSummary) -> None:
        """Adds what was found, and what was not tried."""
        for unknown, one in self._certificates.items():
            key = one.bound or next(iter(one.opened), PublicKeyDigest(""))
            if key:
                opened = len(set().union(*one.opened.values()))
                summary.bindings.append(
                    self._report(
                        Binding(unknown.recipient, key),
                        messages=one.messages,
                        opened=opened,
                        tried=one.tried,
                        is_bound=bool(one.bound),
                    )
                )
            if one.keys and not one.tried:
                self._leave(one)
            self._not_tried.on_tokens += one.on_tokens and not key
        if self._not_tried.certificates or self._not_tried.on_tokens:
            summary.not_tried = self._not_tried
        summary.bindings.sort(key=lambda one: (-one.messages, one.recipient.serial_number))

    def describe_earlier(self, binding: Binding, messages: int) -> BoundKey | None:
        """What an earlier run found; None: its key is not at hand now."""
        if binding not in self.keys.bindings:
            return None
        return self._report(binding, messages=messages, opened=None, tried=None, is_bound=True)

    def _report(
        self,
        binding: Binding,
        *,
        messages: int,
        opened: int | None,
        tried: int | None,
        is_bound: bool,
    ) -> BoundKey:
        key = self._files[binding.public_key]
        return BoundKey(
            recipient=binding.recipient,
            file=key.source.name,
            label=key.operations.label,
            messages=messages,
            opened=opened,
            tried=tried,
            is_bound=is_bound,
        )
