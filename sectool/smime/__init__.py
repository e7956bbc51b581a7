"""MIME and CMS as bytes: what is encrypted in a message, opened, accepted and put back.

Messages are edited by splicing, never parsed and generated. Knows no store and
no job.
"""

from sectool.mime.limits import DEFAULT_LIMITS as DEFAULT_LIMITS, Limits as Limits
from sectool.smime.finding.find_again import places_of as places_of
from sectool.smime.finding.glance import GLANCE_SIZE as GLANCE_SIZE, glance as glance
from sectool.smime.finding.inside import (
    Inside as Inside,
    layer_path as layer_path,
    look_inside as look_inside,
)
from sectool.smime.finding.inventory import Inventory as Inventory, take_inventory as take_inventory
from sectool.smime.identity import (
    differs_by_envelopes_only as differs_by_envelopes_only,
    header_words as header_words,
    identity_of_body as identity_of_body,
    identity_of_parts as identity_of_parts,
)
from sectool.smime.opening.acceptance import accept as accept
from sectool.smime.opening.open_part import (
    OpenedPart as OpenedPart,
    describe_for as describe_for,
    find_opening as find_opening,
)
from sectool.smime.opening.pushed_content import (
    PushedContent as PushedContent,
    content_of as content_of,
)
from sectool.smime.opening.strict_test import (
    PlaintextWitness as PlaintextWitness,
    Verdict as Verdict,
)
from sectool.smime.parts import (
    TO_OPEN_NESTED as TO_OPEN_NESTED,
    ClearSelection as ClearSelection,
    CoveredPart as CoveredPart,
    EncryptedPart as EncryptedPart,
    PartSelection as PartSelection,
    Place as Place,
    Placement as Placement,
    Unreached as Unreached,
    part_word as part_word,
    root_entity as root_entity,
)
from sectool.smime.signing.signatures import (
    IntegrityMark as IntegrityMark,
    SignatureCheck as SignatureCheck,
    check_signature as check_signature,
    integrity_of as integrity_of,
)
from sectool.smime.writing.check_plaintext import check_plaintext as check_plaintext
from sectool.smime.writing.clear_entity import ClearEntity as ClearEntity
from sectool.smime.writing.plaintext_mark import MARK_FIELD as MARK_FIELD, Mark as Mark
from sectool.smime.writing.protected_subject import (
    protected_subject as protected_subject,
    with_header_of as with_header_of,
    with_obscured_subject as with_obscured_subject,
    with_protected_subject as with_protected_subject,
)
from sectool.smime.writing.put_envelope import (
    digest_around as digest_around,
    outer_header as outer_header,
    smime_type_of as smime_type_of,
    write_spliced as write_spliced,
)
from sectool.smime.writing.put_plaintext import (
    DecryptedPart as DecryptedPart,
    write_plaintext as write_plaintext,
)
