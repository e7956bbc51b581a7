"""Counts what a scan finds, message by message."""

from __future__ import annotations

from sectool.joblog import UNREACHED, Examination
from sectool.message import Listing
from sectool.outcome import NOT_DONE, State
from sectool.summary import LeftPart, NeedsOldKeys, NotDone, Summary


def count_examination(summary: Summary, examination: Examination, state: State) -> None:
    """Adds one examined message to ``summary``, under ``state``."""
    ref = examination.ref
    _count(summary, ref.folder, examination.listing.size, state)
    if examination.year:
        summary.years[examination.year] += 1
    for part in examination.parts:
        summary.content_encryption_algorithms[part.content_encryption_algorithm] += 1
        if part.integrity is not None:
            summary.integrity[part.integrity, part.signer] += 1
    for defect in examination.defects:
        summary.count_defect(defect)
    named = [key for layer in examination.layers for key in layer.recipients]
    for key in dict.fromkeys([*examination.recipients, *named]):
        summary.keys[key] = summary.keys.get(key, 0) + 1
    summary.keys_in_history |= examination.in_history
    summary.documents += sum(part.placement == "document" for part in examination.parts)
    for layer in examination.layers:
        if layer.reason and (not layer.path or layer.path.startswith(UNREACHED)):
            summary.left_parts.append(
                LeftPart(
                    ref.folder,
                    ref.key,
                    examination.message_id,
                    state,
                    layer.part,
                    layer.reason,
                    layer.recipients,
                    examination.identity,
                )
            )
    kept = [one for one in examination.layers if one.needs_old_key(examination.in_history)]
    if kept:
        summary.needs_old_keys.append(
            NeedsOldKeys(
                ref.folder,
                ref.key,
                examination.message_id,
                state,
                kept[0].reason,
                tuple(dict.fromkeys(key for layer in kept for key in layer.recipients)),
                examination.identity,
            )
        )
    if state in NOT_DONE:
        summary.list_not_done(
            NotDone(
                ref.folder,
                ref.key,
                examination.message_id,
                state,
                examination.reason,
                examination.identity,
            )
        )


def count_not_selected(summary: Summary, listing: Listing) -> None:
    """Adds one message that the selection leaves out."""
    _count(summary, listing.ref.folder, listing.size, State.NOT_SELECTED)


def _count(summary: Summary, folder: str, size: int, state: State) -> None:
    summary.messages += 1
    summary.bytes += size
    summary.counts[state] += 1
    summary.folders[folder] += 1
