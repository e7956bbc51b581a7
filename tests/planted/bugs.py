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
        "if [back.digest for back in read] != [entry.file_digest for entry in incoming]:",
        "if len(read) != len(incoming):",
        (
            "tests/checkpoint/test_checkpoints.py::test_a_file_that_reads_back_otherwise_is_not_adopted",
        ),
    ),
    Bug(
        "an original is kept without a look at its bytes",
        "sectool/checkpoint/originals.py",
        "elif back.digest != digest:",
        "elif not back.digest:",
        (
            "tests/checkpoint/test_checkpoints.py::test_an_original_that_reads_back_otherwise_than_it_was_copied_ends_the_run",
        ),
    ),
    Bug(
        "no original is kept of what is encrypted",
        "sectool/jobs/replacing/meaning.py",
        "State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=True)",
        "State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False)",
        ("tests/jobs/test_move.py::test_the_originals_are_kept",),
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
        "known.listing.hint != listing.hint or self._deep:",
        "known.listing.hint != listing.hint:",
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
    Bug(
        "a new copy that the disk damaged takes the place of the old one",
        "sectool/mailbox/files/replacing.py",
        "if read.digest != copy.intent.digest:",
        "if not read.digest:",
        ("tests/mailbox/test_contract.py",),
    ),
    Bug(
        "an old copy goes that was changed since it was read, with its size and time kept",
        "sectool/mailbox/files/message_files.py",
        "read._replace(changed=now.changed) if renamed else read",
        "read._replace(changed=now.changed)",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_a_writer_who_keeps_size_and_time_is_noticed",
        ),
    ),
    Bug(
        "a time too young to tell of a change is trusted",
        "sectool/sight.py",
        "return self.changed + grain_of(self.changed) < now",
        "return self.changed <= now",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_a_writer_in_the_same_moment_as_the_reading_is_noticed",
        ),
    ),
    Bug(
        "a message that took the name of an old copy is removed",
        "sectool/mailbox/maildir/retiring.py",
        "if is_unchanged(aside, found, renamed=True):",
        "if aside.lstat():",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_a_file_that_takes_the_name_after_the_last_look_stays",
            "tests/mailbox/test_maildir_unchanged.py::test_a_message_that_took_the_name_of_a_twin_stays",
        ),
    ),
    Bug(
        "what an editor saved under the name of an .eml file is removed by the exchange",
        "sectool/mailbox/eml/retiring.py",
        "if is_unchanged(aside, old, renamed=True):",
        "if aside.lstat():",
        (
            "tests/mailbox/test_eml.py::test_what_took_the_name_after_the_exchange_and_what_came_out_are_both_kept",
        ),
    ),
    Bug(
        "an edit that came out of an exchange before a kill is removed",
        "sectool/mailbox/eml/retiring.py",
        "if digest == left.digest and digest != intent.digest:",
        "if digest != intent.digest:",
        ("tests/mailbox/test_eml.py::test_an_edit_that_came_out_is_put_back_after_a_kill",),
    ),
    Bug(
        "the mailboxes of several people are taken for folders of one",
        "sectool/mailbox/maildir/store.py",
        "return is_maildir(root) or is_of_one_mailbox(root, folders_in(root))",
        "return is_maildir(root) or bool(folders_in(root))",
        ("tests/mailbox/test_recognise.py",),
    ),
    Bug(
        "an old copy stays in tmp that a killed run was about to remove",
        "sectool/jobs/session/session.py",
        "mailbox.settle(job.log",
        "list(job.log",
        (
            "tests/jobs/test_crashes.py::test_encrypt_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end",
        ),
    ),
    Bug(
        "links of the mailbox's owner are followed",
        "sectool/directories.py",
        "flags |= os.O_NOFOLLOW | os.O_CLOEXEC\n        return self._told(",
        "flags |= os.O_CLOEXEC\n        return self._told(",
        (
            "tests/mailbox/test_maildir_attacks.py::test_no_exchange_at_any_point_reaches_what_is_anothers",
        ),
    ),
    Bug(
        "root replaces mail of another user than the mailbox's owner",
        "sectool/mailbox/files/folders.py",
        "elif file is not None and file[1].st_uid != opened.owner:",
        "elif file is not None and file[1].st_uid < 0:",
        (
            "tests/jobs/test_anothers_mailbox.py::test_what_is_another_users_than_the_mailbox_is_left_and_counted",
        ),
    ),
    Bug(
        "a link on the way to the mailbox is followed that its owner made",
        "sectool/trust.py",
        "if status.st_uid not in _trusted():\n                raise _planted(link, status)",
        "if status.st_uid < 0:\n                raise _planted(link, status)",
        (
            "tests/jobs/test_anothers_mailbox.py::test_a_link_of_the_owners_on_the_way_is_refused_with_what_it_leads_to",
        ),
    ),
    Bug(
        "an original is a second name of a file that its owner can write to",
        "sectool/checkpoint/originals.py",
        "return sight.is_callers and sight.links == 1",
        "return not sight.mode & 0o022 and sight.links == 1",
        ("tests/jobs/test_anothers_mailbox.py", "tests/mailbox/test_maildir_attacks.py"),
    ),
    Bug(
        "an original is a second name of a file that keeps another one",
        "sectool/checkpoint/originals.py",
        "return sight.is_callers and sight.links == 1",
        "return sight.is_callers",
        (
            "tests/checkpoint/test_checkpoints.py::test_an_original_is_not_changed_under_a_name_that_stays",
        ),
    ),
    Bug(
        "a new copy loses its access control list",
        "sectool/mailbox/files/inheriting.py",
        "if wanted is not None and is_of_group and _set(descriptor, ACCESS_LIST, wanted):",
        "if wanted is not None and is_of_group:",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_lists_and_attributes_come_along_and_no_right_is_new",
        ),
    ),
    Bug(
        "a message that was marked as deleted meanwhile is replaced",
        "sectool/mailbox/base.py",
        "if old.deleted and not (base.deleted or new.deleted):",
        "if old.deleted and (base.deleted and new.deleted):",
        ("tests/mailbox/test_contract.py",),
    ),
    Bug(
        "the base of a merge of flags stays the first one",
        "sectool/mailbox/base.py",
        "return replace(self, intent=replace(self.intent, told=None), flags=merge.old)",
        "return replace(self, intent=replace(self.intent, told=None))",
        (
            "tests/mailbox/test_maildir_races.py::test_a_flag_that_is_set_and_cleared_again_meanwhile_is_cleared",
        ),
    ),
    Bug(
        "after a kill a flag comes back that was cleared since",
        "sectool/mailbox/base.py",
        "base = self.flags if told is None else new.agreed(base=self.flags, told=told)",
        "base = self.flags",
        (
            "tests/jobs/test_owner_acts.py::test_a_flag_that_is_cleared_after_a_kill_does_not_come_back",
        ),
    ),
    Bug(
        "a message that its owner removed meanwhile comes back",
        "sectool/mailbox/maildir/replacing.py",
        "part = self._files.with_file(intent.replaced, _part_of_existing)",
        'part = "cur"',
        (
            "tests/mailbox/test_maildir_unchanged.py::test_what_its_owner_removed_while_the_new_copy_was_made_does_not_come_back",
        ),
    ),
    Bug(
        "a message is removed from under a server that moves it",
        "sectool/mailbox/files/message_files.py",
        "if status.st_nlink > self._links.get(Sight.of(status).file, status.st_nlink):",
        "if not status.st_nlink:",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_what_a_server_is_moving_is_not_removed_from_under_it",
            "tests/jobs/test_owner_acts.py::test_a_message_that_a_server_moves_in_two_steps_is_there_once",
        ),
    ),
    Bug(
        "plaintext stays in the tmp of a folder that was renamed",
        "sectool/mailbox/files/replacing.py",
        "for folder in self._files.folders() if left else ():",
        "for folder in ():",
        (
            "tests/jobs/test_owner_acts.py::test_what_waits_in_a_folder_that_is_renamed_after_a_kill_is_removed",
        ),
    ),
    Bug(
        "the log tells of files whose names are not durable",
        "sectool/durable.py",
        "        os.fsync(directory.descriptor)\n",
        "        directory.status()\n",
        (
            "tests/faults/test_every_call.py::test_what_takes_the_place_of_a_message_is_durable_before_that_is_removed",
        ),
    ),
    Bug(
        "the bytes of new copies are not durable when their names are",
        "sectool/mailbox/files/replacing.py",
        """durable.sync_and_read_back(opened, f"{self.point}.sync")""",
        "ReadBack(durable.read_back_digest(one), Sight.of(os.fstat(one.fileno())))"
        " for one in opened",
        ("tests/mailbox/test_maildir_kill_points.py",),
    ),
    Bug(
        "a worker tells of a new copy that is not durable",
        "sectool/jobs/work/new_message.py",
        """read = durable.sync_and_read_back(files, "spool.sync")""",
        "read = [durable.ReadBack(durable.read_back_digest(one), Sight.now(one.lstat()))"
        " for one in files]",
        (
            "tests/faults/test_every_call.py::test_a_new_copy_of_a_worker_is_durable_with_all_that_it_has",
        ),
    ),
    Bug(
        "a new copy is placed as its worker read it back, whatever was made of it since",
        "sectool/mailbox/files/replacing.py",
        "if sight is not None and sight == Sight.of(status):",
        "if sight is not None:",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_a_new_copy_that_is_changed_after_it_was_read_back_is_not_placed",
        ),
    ),
    Bug(
        "a new copy that was changed as it was placed costs the old one",
        "sectool/mailbox/files/replacing.py",
        "if Sight.of(status) == sight:",
        "if sight is not None:",
        (
            "tests/mailbox/test_maildir_unchanged.py::test_a_new_copy_that_is_changed_before_it_is_placed_costs_no_old_one",
        ),
    ),
    Bug(
        "new copies are written that the log does not know of",
        "sectool/jobs/replacing/replacer.py",
        "            self._log.replacements.intend([step.record for step in steps])\n",
        "",
        (
            "tests/jobs/test_crashes.py::test_encrypt_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end",
        ),
    ),
    Bug(
        "the log tells of checkpoints whose names are not durable",
        "sectool/checkpoint/checkpoints.py",
        """                self._give_name(entry)
            durable.sync_directories([self._directory], "checkpoint.directory")
""",
        """                self._give_name(entry)
""",
        (
            "tests/faults/test_every_call.py::test_a_checkpoint_is_durable_before_the_log_tells_of_it",
        ),
    ),
    Bug(
        "an mbox is written anew while a delivery holds its lock of the kernel",
        "sectool/mailbox/mbox/locking.py",
        "holder = _lock_file(descriptor) or _make_lock(lock)",
        "holder = _make_lock(lock)",
        (
            "tests/mailbox/test_mbox_meanwhile.py::test_a_lock_that_somebody_holds_ends_the_run_and_says_whose_it_is",
        ),
    ),
    Bug(
        "what a program changed while an mbox was written anew is lost",
        "sectool/mailbox/mbox/rewriting.py",
        "if FileState.of(old.fileno()) != index.state:",
        "if FileState.of(old.fileno()).inode != index.state.inode:",
        (
            "tests/mailbox/test_mbox_meanwhile.py::test_what_a_program_without_locks_does_while_a_folder_is_written_is_kept",
        ),
    ),
    Bug(
        "what came late into the old file of an mbox is removed with it",
        "sectool/mailbox/mbox/late.py",
        "if size > _known(name) and not _is_same(file, old):",
        "if size < _known(name) and not _is_same(file, old):",
        (
            "tests/mailbox/test_mbox_meanwhile.py::test_an_old_file_that_a_program_has_open_to_write_stays_until_it_is_closed",
        ),
    ),
    Bug(
        "the bytes of a new mbox file are not durable when it has its name",
        "sectool/mailbox/mbox/rewriting.py",
        'durable.sync_files([stream], "mbox.sync")',
        'durable.sync_files([], "mbox.sync")',
        (
            "tests/mailbox/test_mbox.py::test_what_takes_the_place_of_a_message_is_durable_before_it_does",
        ),
    ),
    Bug(
        "what waits for another mbox that is gone is removed",
        "sectool/mailbox/mbox/late.py",
        "if self._folders.only is None or self._is_of_only(beside, intents):",
        "if self._folders.only or not self._is_of_only(beside, intents):",
        (
            "tests/jobs/test_mbox.py::test_nothing_stays_beside_a_single_file_that_gets_another_name_after_a_kill",
        ),
    ),
)
