"""Writes a plaintext with new envelopes in the place of those inside it, and encrypts it.

Each envelope inside is written into the plaintext around it while that is
encrypted in turn, so that no plaintext lies anywhere. Sizes are worked out
first. Only the envelopes and the fields that describe them differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

from sectool import cms, smime
from sectool.checkpoint import CheckpointStore
from sectool.errors import MalformedMessage, MessageError
from sectool.joblog import CheckpointRecord
from sectool.jobs.work.checkpoint_access import not_as_known
from sectool.message import BytesContent, Content, Sink
from sectool.values import dataclass

_ZEROS = bytes(64 * 1024)

_IN_MEMORY = 16 * 1024 * 1024
"""New plaintext up to this size, in bytes, is held in memory while it is checked."""


@dataclass(frozen=True, slots=True)
class SealedPlaintext:
    """The CMS of a plaintext, and those inside it."""

    written: cms.Sealed
    content_type: str
    """Of the plaintext, dotted."""
    around: str
    """Digest of the plaintext without the envelopes inside."""
    inside: Mapping[str, SealedPlaintext]
    """By the path of the part."""

    @property
    def digest(self) -> str:
        """SHA-256 of the CMS, lower-case hexadecimal."""
        return self.written.digest

    @property
    def content_encryption_key(self) -> bytes:
        """Never stored."""
        return self.written.content_encryption_key

    @property
    def content_sha256(self) -> str:
        """Of the plaintext as it was encrypted, lower-case hexadecimal."""
        return self.written.content_sha256


@dataclass(frozen=True, slots=True)
class _Plan:
    """A plaintext as it will be, before any of it is written."""

    plaintext: Content
    known: CheckpointRecord
    inside: Sequence[tuple[smime.EncryptedPart, _Plan]]
    size: int
    """Bytes of the plaintext with the new envelopes."""


class NestedSealer:
    """Encrypts what checkpoints hold, and what is encrypted inside of that anew as well.

    Args:
        checkpoints: of the plaintexts.
        recipients: of all envelopes.
        profile: of all envelopes.
    """

    def __init__(
        self,
        checkpoints: CheckpointStore,
        recipients: Sequence[cms.Recipient],
        profile: cms.Profile,
    ) -> None:
        self._checkpoints = checkpoints
        self._recipients = recipients
        self._profile = profile

    def seal(
        self, known: CheckpointRecord, layers: Mapping[str, CheckpointRecord], sink: Sink
    ) -> SealedPlaintext:
        """Writes the CMS of one plaintext.

        Args:
            known: the checkpoint of the plaintext.
            layers: checkpoints of the layers inside that are encrypted anew, by their
                paths in the log; the others stay as they are.
            sink: takes the CMS.

        Raises:
            CheckpointDamaged: a checkpoint is not what the log knows.
            MessageError: it cannot be done for this message.
        """
        return self._write(self._plan(known, layers, ""), sink)

    def _plan(
        self, known: CheckpointRecord, layers: Mapping[str, CheckpointRecord], prefix: str
    ) -> _Plan:
        plaintext = self._checkpoints.open(known.content_digest).inner
        if not any(path.startswith(prefix) for path in layers):
            return _Plan(plaintext, known, (), plaintext.size)
        if plaintext.digest != known.inner_sha256:
            raise not_as_known(known.content_digest)
        inside = [
            (part, self._plan(layer, layers, f"{path}!"))
            for part, path, layer in layers_inside(plaintext, known.content_type, layers, prefix)
        ]
        counting = cms.HashingSink(cms.DISCARD)
        sizes = {part.path: self._sealed_size(plan) for part, plan in inside}
        self._splice(plaintext, inside, counting, lambda part, sink: _fill(sink, sizes[part.path]))
        return _Plan(plaintext, known, inside, counting.size)

    def _sealed_size(self, plan: _Plan) -> int:
        return cms.sealed_size(
            plan.size, self._recipients, profile=self._profile, content_type=plan.known.content_type
        )

    def _splice(
        self,
        plaintext: Content,
        inside: Sequence[tuple[smime.EncryptedPart, _Plan]],
        sink: Sink,
        write_cms: Callable[[smime.EncryptedPart, Sink], object],
    ) -> None:
        smime.write_spliced(
            plaintext,
            [part for part, _ in inside],
            sink,
            write_cms,
            smime_type=smime.smime_type_of(self._profile.content_type),
            is_message=False,
        )

    def _write(self, plan: _Plan, sink: Sink) -> SealedPlaintext:
        sealer = cms.Sealer(
            sink,
            plan.size,
            self._recipients,
            profile=self._profile,
            content_type=plan.known.content_type,
        )
        plans = {part.path: inner for part, inner in plan.inside}
        inside: dict[str, SealedPlaintext] = {}

        def write_cms(part: smime.EncryptedPart, sink: Sink) -> None:
            inside[part.path] = self._write(plans[part.path], sink)

        self._splice(plan.plaintext, plan.inside, sealer, write_cms)
        written = sealer.finish()
        if not inside and written.content_sha256 != plan.known.inner_sha256:
            raise not_as_known(plan.known.content_digest)
        around = ""
        if inside:
            around = smime.digest_around(plan.plaintext, [part for part, _ in plan.inside])
        return SealedPlaintext(written, plan.known.content_type, around, inside)


def layers_inside(
    plaintext: Content, content_type: str, layers: Mapping[str, CheckpointRecord], prefix: str
) -> list[tuple[smime.EncryptedPart, str, CheckpointRecord]]:
    """The layers that lie in a plaintext itself, in its order, with their paths in the log.

    Args:
        plaintext: what to look into.
        content_type: of it, dotted.
        layers: checkpoints of layers at any depth, by their paths in the log.
        prefix: what the paths of those in this plaintext begin with.

    Raises:
        MessageError: they are not those that were found when it was decrypted.
    """
    wanted = sum(_is_direct(path, prefix) for path in layers)
    if not wanted:
        return []
    found: list[tuple[smime.EncryptedPart, str, CheckpointRecord]] = []
    for part in smime.look_inside(plaintext, content_type).parts:
        path = f"{prefix}{smime.layer_path(part)}"
        layer = layers.get(path)
        if layer is not None and layer.content_digest == part.envelope.digest:
            found.append((part, path, layer))
    if len(found) != wanted:
        raise MessageError("the layers inside are not those that were found first")
    return found


def _is_direct(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and "!" not in path[len(prefix) :]


def _fill(sink: Sink, size: int) -> None:
    """Writes as many bytes as a CMS will have."""
    for start in range(0, size, len(_ZEROS)):
        sink.write(_ZEROS[: size - start])


# --- the structural proof ----------------------------------------------------------


def check_inside(
    source: cms.Source, sealed: SealedPlaintext, recipients: Sequence[cms.Recipient]
) -> None:
    """Proves the envelopes inside a CMS that was read back, and that all else is as it was.

    Args:
        source: the CMS, itself proven to hold ``sealed.content_sha256``.
        sealed: what was written.
        recipients: those that each envelope must name, and no others.

    Raises:
        MalformedMessage: they are not what was written.
        DecryptionFailed: one does not open under its key.
    """
    if not sealed.inside:
        return
    plaintext = _plaintext(source, sealed, recipients)
    found = {part.path: part for part in smime.look_inside(plaintext, sealed.content_type).parts}
    parts = [found[path] for path in sealed.inside if path in found]
    if len(parts) != len(sealed.inside):
        raise MalformedMessage("the new plaintext does not hold the envelopes of the old one")
    if smime.digest_around(plaintext, parts) != sealed.around:
        raise MalformedMessage("the new plaintext differs from the old one by more than envelopes")
    for path, inner in sealed.inside.items():
        part = found[path].source
        checked = cms.check_sealed(part, inner.content_encryption_key, recipients)
        if (checked.digest, checked.content_sha256) != (inner.digest, inner.content_sha256):
            raise MalformedMessage("an envelope inside is not the one that was written")
        check_inside(part, inner, recipients)


def _plaintext(
    source: cms.Source, sealed: SealedPlaintext, recipients: Sequence[cms.Recipient]
) -> Content:
    def write_to(sink: Sink) -> None:
        cms.check_sealed(source, sealed.content_encryption_key, recipients, sink=sink)

    if sealed.written.content_size > _IN_MEMORY:
        return smime.PushedContent(write_to, sealed.written.content_size)
    buffer = BytesIO()
    write_to(buffer)
    return BytesContent(buffer.getvalue())
