"""What runs tell beside the counts: new certificates, old keys, files that went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sectool.cli.words import parts, retirement
from sectool.cli.words.layout import counted, fact, key_name, most_first, table, wrapped
from sectool.outcome import RecipientKey
from sectool.progress import size_text
from sectool.summary import (
    BoundKey,
    EncryptingSummary,
    EncryptSummary,
    LeftFolder,
    NewCertificate,
    NotTried,
    OpeningSummary,
    Purged,
    PurgeSummary,
    Retried,
    Summary,
    VerifySummary,
    WorkingSummary,
)

LISTED = 10
"""Recipients who lose access are listed up to this number; JSON lists them all."""


def as_json(summary: Summary) -> dict[str, Any]:
    """Further members of the document of the command contract."""
    document: dict[str, Any] = {}
    document["needs_old_keys"] = parts.with_recipients(summary.needs_old_keys, summary)
    document["voided_signatures"] = summary.voided_signatures
    document["job_data_removed"] = summary.job_data_removed
    document["bindings"] = []
    if isinstance(summary, OpeningSummary):
        document.update(_bindings_as_json(summary))
    if isinstance(summary, VerifySummary):
        document.update(retirement.as_json(summary))
    if isinstance(summary, WorkingSummary):
        document.update(_undone_as_json(summary))
    if isinstance(summary, PurgeSummary):
        document["purged"] = asdict(summary.purged)
        del document["purged"]["is_rehearsal"]
    if isinstance(summary, EncryptSummary) and summary.brought_back is not None:
        document["brought_back"] = summary.brought_back
        document["not_brought_back"] = dict(summary.not_brought_back)
    if isinstance(summary, EncryptingSummary):
        document.update(_encrypting_as_json(summary))
    if summary.unused_key_files:
        document["unused_key_files"] = [asdict(entry) for entry in summary.unused_key_files]
    if summary.shut_key_files:
        document["shut_key_files"] = [asdict(entry) for entry in summary.shut_key_files]
    return document


def _undone_as_json(summary: WorkingSummary) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if summary.left_folders:
        document["left_folders"] = [asdict(left) for left in summary.left_folders]
    if summary.retried is not None:
        document["retried"] = {
            "states": {state.value: n for state, n in sorted(summary.retried.states.items())},
            "done": summary.retried.done,
        }
    return document


def _encrypting_as_json(summary: EncryptingSummary) -> dict[str, Any]:
    return {
        "new_certificates": [
            {
                "file": entry.file,
                "subject": entry.subject,
                "addresses": list(entry.addresses),
                "fingerprint": entry.fingerprint,
                "key": entry.key_kind,
                "not_before": entry.not_before.isoformat(),
                "not_after": entry.not_after.isoformat(),
                "overridden": list(entry.overridden),
                "in_transition": entry.is_in_transition,
                "weakens": entry.weakens,
            }
            for entry in summary.new_certificates
        ],
        "owner_checked": summary.owner_checked,
        "losing_access": [
            {
                **asdict(key),
                "addresses": list(summary.addresses_at_hand.get(key, ())),
                "messages": count,
                "sent": summary.losing_access_sent[key],
            }
            for key, count in most_first(summary.losing_access)
        ],
    }


def as_table(summary: Summary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if isinstance(summary, OpeningSummary):
        yield from _bindings_as_table(summary)
    yield from _numbers(summary)
    if isinstance(summary, EncryptingSummary):
        yield from _certificates(summary)
    if isinstance(summary, WorkingSummary):
        yield from _undone(summary)
    if isinstance(summary, EncryptingSummary) and summary.losing_access:
        yield ""
        yield from _losing_access(summary)
    if isinstance(summary, EncryptSummary) and summary.brought_back is not None:
        yield ""
        yield f"brought back: {summary.brought_back} lost messages, in the folder Recovered"
        for reason, count in summary.not_brought_back.most_common():
            yield f"  {count} not: {reason}"
    if isinstance(summary, PurgeSummary):
        yield ""
        yield from _purged(summary.purged)
    if isinstance(summary, VerifySummary) and summary.retire is not None:
        yield ""
        yield from retirement.as_table(summary.retire)
    if summary.shut_key_files:
        yield ""
        yield from _shut(summary)


def _numbers(summary: Summary) -> Iterable[str]:
    numbers = {
        "signatures that --break-signatures made void": summary.voided_signatures,
        "messages whose job data were removed": summary.job_data_removed,
    }
    for what, number in numbers.items():
        if number:
            yield ""
            yield f"{what}: {number}"


def _certificates(summary: EncryptingSummary) -> Iterable[str]:
    for certificate in summary.new_certificates:
        yield ""
        yield from _certificate(certificate)
    if not summary.owner_checked:
        yield from wrapped(
            "  Not checked: does this certificate belong to the owner? Add --owner ADDRESS.",
            indent=4,
        )


def _undone(summary: WorkingSummary) -> Iterable[str]:
    if summary.left_folders:
        yield ""
        yield from _left(summary.left_folders)
    if summary.retried is not None:
        yield ""
        yield _retried(summary.retried)


def _shut(summary: Summary) -> Iterable[str]:
    files = summary.shut_key_files
    if isinstance(summary, VerifySummary) and summary.retire is not None:
        yield "nothing is said of old keys in these, which could not be opened:"
    else:
        missing = counted(summary.missing_a_key, "message")
        yield f"a key is missing for {missing}, and these could not be opened:"
    for entry in files[:LISTED]:
        yield from wrapped(f"  {entry.file}: {entry.reason}", indent=4)
        if entry.hint:
            yield from wrapped(f"    hint: {entry.hint}", indent=6)
    if len(files) > LISTED:
        yield f"  and {len(files) - LISTED} more: --json lists them all"


def _left(folders: list[LeftFolder]) -> Iterable[str]:
    rows = [
        (left.folder, f"{left.failed} of {left.looked_at}", str(left.messages)) for left in folders
    ]
    yield from table(("folder left", "failed", "not begun"), rows)


def _retried(retried: Retried) -> str:
    counts = sorted(retried.states.items())
    before = ", ".join(f"{count} {state.value}" for state, count in counts) or "nothing"
    return f"retried   {before}: {retried.done} of them done now"


def _certificate(certificate: NewCertificate) -> Iterable[str]:
    yield "new certificate"
    yield from fact("subject", certificate.subject)
    yield from fact("names", ", ".join(certificate.addresses) or "no address")
    yield from fact("key", certificate.key_kind)
    yield from fact(
        "valid", f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    )
    yield from fact("sha256", certificate.fingerprint)
    if certificate.weakens:
        yield from fact("warning", "the mail is only as safe as this key is: not post-quantum")
    if certificate.is_in_transition:
        yield from fact("transition", "an old certificate, beside a newer one of the same person")
    for fault in certificate.overridden:
        yield from fact("accepted", f"although it {fault}")


def _losing_access(summary: EncryptingSummary) -> Iterable[str]:
    counts, sent = summary.losing_access, summary.losing_access_sent
    rows = [
        (_person(key, summary), str(count), str(sent[key]))
        for key, count in most_first(counts)[:LISTED]
    ]
    yield from table(
        ("could read this mail before, will not afterwards", "messages", "in sent mail"), rows
    )
    if len(counts) > LISTED:
        yield f"  and {len(counts) - LISTED} more: --json lists them all"
    if any(sent[key] == count for key, count in counts.items()):
        yield "  in sent mail only: correspondents, who have copies of their own"
    if any(sent[key] < count for key, count in counts.items()):
        yield "  in other mail: people it went to as well, who have copies of their own; or"
        yield "  co-owners of this mailbox, who lose access: add their certificates with --to"


def _person(key: RecipientKey, summary: EncryptingSummary) -> str:
    addresses = summary.addresses_at_hand.get(key)
    return f"{', '.join(addresses)}: {key_name(key)}" if addresses else key_name(key)


def _purged(purged: Purged) -> Iterable[str]:
    went, stay = ("would go", "would stay") if purged.is_rehearsal else ("removed", "kept")
    yield (
        f"{went:<12}{purged.checkpoints} checkpoints, {purged.originals} originals"
        f" ({size_text(purged.bytes)})"
    )
    young = f", {purged.too_young} of them only for --older-than" if purged.too_young else ""
    yield f"{stay:<12}{purged.kept} checkpoints and originals{young}"


# --- certificates that are not at hand and whose key is -------------------------------------------


_BINDINGS = 20
"""Certificates are listed up to this number; JSON lists them all."""


def _bindings_as_json(summary: OpeningSummary) -> dict[str, Any]:
    """Members ``bindings`` and ``not_tried`` of the document of the command contract."""
    document: dict[str, Any] = {
        "bindings": [
            {
                **asdict(one.recipient),
                "file": one.file,
                "label": one.label,
                "messages": one.messages,
                "opened": one.opened,
                "tried": one.tried,
                "bound": one.is_bound,
            }
            for one in summary.bindings
        ]
    }
    if summary.not_tried is not None:
        document["not_tried"] = asdict(summary.not_tried)
    return document


def _bindings_as_table(summary: OpeningSummary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if summary.bindings or summary.not_tried is not None:
        yield ""
    for one in summary.bindings[:_BINDINGS]:
        yield from wrapped(_binding(one), indent=2)
    if len(summary.bindings) > _BINDINGS:
        yield f"  and {len(summary.bindings) - _BINDINGS} more certificates: --json lists them all"
    if summary.not_tried is not None:
        yield from _not_tried(summary.not_tried, goes_on=summary.phase != "scan")


def _binding(one: BoundKey) -> str:
    names = "name" if one.messages != 1 else "names"
    certificate = _bound_certificate(one)
    text = f"{counted(one.messages, 'message')} {names} {certificate}; key {one.file} opens"
    if not one.is_bound:
        return (
            f"{text} {one.opened} of the {one.tried} that were tried: too few to be sure of others"
        )
    return f"{text} {'it' if one.messages == 1 else 'them'}"


def _bound_certificate(one: BoundKey) -> str:
    recipient = one.recipient
    if recipient.serial_number:
        return f"certificate {recipient.serial_number} of {recipient.issuer}"
    return f"subject key identifier {recipient.subject_key_identifier}"


def _not_tried(left: NotTried, *, goes_on: bool) -> Iterable[str]:
    if left.certificates:
        text = (
            f"no key was tried on {counted(left.certificates, 'unknown certificate')} that"
            f" {counted(left.messages, 'message')} name: it would take more than"
            f" {left.operations} private-key operations"
        )
        text += "; the same command goes on" if goes_on else "; decrypt spends more"
        yield from wrapped(text, indent=2)
    if left.on_tokens:
        text = (
            f"no key on a token was tried on {counted(left.on_tokens, 'unknown certificate')}:"
            " --try-tokens does"
        )
        yield from wrapped(text, indent=2)
