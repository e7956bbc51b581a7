"""Opens an envelope with the first key that fits, for tests that hold only what is inside."""

from __future__ import annotations

import io

from sectool import cms
from sectool.errors import DecryptionFailed


def open_envelope(
    source: cms.Source,
    sink: cms.Sink,
    keys: cms.KeySource,
    limits: cms.Limits = cms.DEFAULT_LIMITS,
    *,
    secrets: cms.SharedSecrets = cms.NO_SECRETS,
) -> cms.Authenticated | cms.Unproven:
    openings = cms.find_openings(source, keys, limits, secrets=secrets)
    is_small = (openings.description.encrypted_content_size or 0) <= limits.buffered_content
    for opening in openings:
        buffer = io.BytesIO()
        try:
            result = opening.decrypt(buffer if is_small else cms.DISCARD)
        except DecryptionFailed:
            continue
        if is_small:
            sink.write(buffer.getvalue())
        else:
            assert opening.decrypt(sink).sha256 == result.sha256
        return result
    raise openings.failure
