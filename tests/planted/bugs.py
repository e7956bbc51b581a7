"""Bugs that the tests have to see, one place each, and what sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """One change for the worse."""

    name: str
    """What it would do to people's mail."""
    module: str
    """Path of the module, from the top of the repository."""
    right: str
    """Text as it stands there, once."""
    wrong: str
    """What is put in its place."""
    seen_by: tuple[str, ...]
    """Tests of which one fails with it."""


BUGS: tuple[Bug, ...] = (
    Bug(
        "what nothing proves is taken for plaintext",
        "sectool/smime/opening/acceptance.py",
        "if verdict is not Verdict.PLAINTEXT and opened",
        "if verdict is Verdict.GARBAGE and opened",
        ("tests/smime/test_opening.py::test_unproven_text_without_header_is_for_a_person",),
    ),
    Bug(
        "what a wrong key gives is taken where nothing names the key",
        "sectool/smime/opening/acceptance.py",
        "if verdict is Verdict.GARBAGE and not is_named:",
        "if verdict is Verdict.GARBAGE and is_named:",
        (
            "tests/smime/test_opening.py::test_what_looks_like_garbage_is_garbage_where_nothing_names_the_key",
        ),
    ),
    Bug(
        "a checkpoint that the disk damaged is adopted",
        "sectool/checkpoint/checkpoints.py",
        "if durable.read_back_digest(entry.path) != entry.file_digest:",
        "if not entry.file_digest:",
        (
            "tests/checkpoint/test_checkpoints.py::test_a_file_that_reads_back_otherwise_is_not_adopted",
        ),
    ),
    Bug(
        "the name of a checkpoint is not durable when the log tells of it",
        "sectool/checkpoint/checkpoints.py",
        """                self._give_name(entry)
            durable.sync_directories([self._directory], "checkpoint.directory")
""",
        """                self._give_name(entry)
""",
        (),
    ),
    Bug(
        "an original is kept without a look at its bytes",
        "sectool/checkpoint/originals.py",
        "missing = [entry for entry in missing if self._is_whole(entry, refused)]",
        "missing = [entry for entry in missing if entry.digest not in refused]",
        (
            "tests/checkpoint/test_checkpoints.py::test_an_original_of_other_bytes_than_the_message_is_refused",
        ),
    ),
    Bug(
        "no original is kept of what is encrypted",
        "sectool/jobs/replacing/replacer.py",
        "State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=True)",
        "State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False)",
        ("tests/jobs/test_move.py::test_the_originals_are_kept",),
    ),
    Bug(
        "a message that was changed while its new copy was made is replaced",
        "sectool/jobs/replacing/replacer.py",
        "if stored.revision != new.revision:",
        "if not stored.revision:",
        (),
    ),
    Bug(
        "the old copies go before the log knows of the new ones",
        "sectool/jobs/replacing/replacer.py",
        """        self._log_placed(placed)
        return self._proven(placed)
""",
        """        return self._proven(placed)
""",
        (),
    ),
    Bug(
        "two whole copies are left after a crash",
        "sectool/jobs/replacing/replacer.py",
        "elif copies.old_present and not step.is_addition:",
        "elif copies.old_present and step.is_addition:",
        (
            "tests/jobs/test_stores_meanwhile.py::test_after_a_crash_a_mailbox_of_sixty_messages_has_sixty",
        ),
    ),
    Bug(
        "what a store made something else of stays",
        "sectool/jobs/replacing/replacer.py",
        "if isinstance(look, KnownCopy) and step.record.identity in look.names:",
        "if isinstance(look, KnownCopy):",
        (
            "tests/jobs/test_stores_meanwhile.py::test_what_a_server_makes_something_else_of_is_taken_back",
        ),
    ),
    Bug(
        "what was never opened with the new key is purged",
        "sectool/joblog/purges.py",
        "(m.proof = 'opened' OR (?",
        "(m.proof <> '' OR (?",
        ("tests/jobs/test_purge.py::test_without_a_proof_nothing_goes",),
    ),
    Bug(
        "a checkpoint goes that another message needs",
        "sectool/joblog/purges.py",
        "   AND m.presence <> 'gone' AND (NOT m.purged OR other.is_kept)",
        "   AND m.presence = 'gone' AND (NOT m.purged OR other.is_kept)",
        (
            "tests/jobs/test_purge.py::test_a_checkpoint_that_two_messages_share_stays_while_one_needs_it",
        ),
    ),
    Bug(
        "what opens to something else counts as proven",
        "sectool/jobs/work/prove.py",
        "if (opened.sha256, opened.content_type) == known:",
        "if opened.sha256:",
        ("tests/jobs/test_verify.py::test_a_message_that_opens_to_something_else_is_failed",),
    ),
    Bug(
        "a deep verification trusts names and times",
        "sectool/jobs/passes/match.py",
        "known.listing.hint == listing.hint and not self._deep:",
        "known.listing.hint == listing.hint:",
        (
            "tests/jobs/test_purge.py::test_a_message_that_changed_since_it_was_opened_keeps_its_files",
        ),
    ),
    Bug(
        "a stranger's mailbox is taken for the job's",
        "sectool/jobs/passes/match.py",
        "if match.found * 2 < match.messages and not partial:",
        "if match.found * 2 < match.messages and partial:",
        ("tests/jobs/test_move.py::test_a_mailbox_with_less_than_half_of_the_job_is_refused",),
    ),
)
