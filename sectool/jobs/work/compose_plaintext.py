"""Makes the plaintexts that go into the mailbox, those of layers inside in their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sectool import cms, durable, smime
from sectool.checkpoint import CheckpointStore
from sectool.crashpoints import crashpoint
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.joblog import CheckpointRecord, SealablePart
from sectool.jobs.work.checkpoint_access import not_as_known
from sectool.jobs.work.seal_nested import layers_inside
from sectool.message import Content, DigestingSink, FileContent
from sectool.outcome import PlaintextDigest


@dataclass(frozen=True, slots=True)
class Plaintext:
    """What is to stand in the place of a part, and its SHA-256 as it was taken down."""

    content: Content
    sha256: PlaintextDigest

    def in_place_of(self, part: smime.Place) -> smime.DecryptedPart:
        """For ``smime.write_plaintext``."""
        return smime.DecryptedPart(part, self.content, self.sha256)


@dataclass(slots=True)
class PlaintextComposer:
    """Opens checkpoints, each one with those of the layers inside it where they are wanted.

    To be used in a ``with`` statement, at the end of which the files it wrote are gone.

    Args:
        checkpoints: of the job.
        new_file: names a file for a plaintext in which layers were opened.
        selection: which layers may be opened; without ``nested`` each stays as it is.
    """

    checkpoints: CheckpointStore
    new_file: Callable[[], Path]
    selection: smime.ClearSelection
    _written: list[Path] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._written:
            durable.unlink(path, "plaintext.layer-gone", missing_ok=True)

    def compose(self, part: SealablePart) -> Plaintext:
        """The plaintext of a part.

        Raises:
            UnsupportedMessage: it is no MIME entity, or a layer cannot be put into it.
            CheckpointDamaged: a checkpoint is not what the log knows.
            MessageError: it cannot be done for this message.
            NoSpace: it could not be written.
        """
        return self._compose(part.checkpoint, part.layers if self.selection.nested else {}, "")

    def _compose(
        self, known: CheckpointRecord, layers: Mapping[str, CheckpointRecord], prefix: str
    ) -> Plaintext:
        if known.content_type != cms.ID_DATA:
            raise UnsupportedMessage("what is inside is no MIME entity")
        inner = self.checkpoints.open(known.content_digest).inner
        if inner.digest != known.inner_sha256:
            raise not_as_known(known.content_digest)
        inside = layers_inside(inner, known.content_type, layers, prefix)
        if not inside:
            return Plaintext(inner, known.inner_sha256)
        for place, _, _ in inside:
            if reason := self.selection.why_left(place):
                raise UnsupportedMessage(
                    f"another encrypted layer lies inside, and stays so: {reason}"
                )
        parts = [
            self._compose(layer, layers, f"{path}!").in_place_of(place)
            for place, path, layer in inside
        ]
        path = self.new_file()
        self._written.append(path)
        content = write_and_check(path, inner, parts)
        return Plaintext(content, PlaintextDigest(content.digest))


def write_and_check(
    path: Path,
    content: Content,
    parts: Sequence[smime.DecryptedPart],
    mark: smime.Mark | None = None,
) -> FileContent:
    """Writes a message or plaintext with plaintexts in it, unsynced, and proves it.

    Args:
        path: where to; nothing may be there.
        content: as ``smime.write_plaintext`` has it.
        parts: likewise.
        mark: likewise.

    Raises:
        UnsupportedMessage: a plaintext cannot stand there as it is.
        MessageError: it cannot be done for this message.
        NoSpace: it could not be written.
    """
    with durable.new_output(path, "write a new message") as stream:
        digesting = DigestingSink(stream)
        smime.write_plaintext(content, parts, digesting, mark=mark)
        crashpoint("plaintext.written")
        stream.flush()
        written = FileContent(path, known_digest=digesting.hexdigest())
        try:
            smime.check_plaintext(written, content, parts, mark=mark)
        except MalformedMessage as error:
            # Such as a body whose last byte would pass for a part of the line end behind it.
            what = f"its plaintext cannot stand in the mailbox: {error.message}"
            raise UnsupportedMessage(what) from error
    return written
