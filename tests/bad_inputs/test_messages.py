"""A job takes a mailbox of bad messages: each is left or done as its kind asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.errors import MessageError
from sectool.keys import KeySpecification
from sectool.message import BytesContent
from sectool.outcome import State
from sectool.summary import Summary
from tests.bad_inputs.algorithms import ALGORITHMS
from tests.bad_inputs.messages import MESSAGES, entity, message
from tests.bad_inputs.people import Forger, make_forger
from tests.bad_inputs.structure import STRUCTURE
from tests.bad_inputs.vector import Envelope, Message
from tests.support.effort import effort
from tests.support.mailboxes import Mail, fill

VECTORS: Sequence[Envelope | Message] = (*STRUCTURE, *ALGORITHMS, *MESSAGES)
DEAR = 100
"""Work of a message, as its vector bounds it, from which on it moves with ``--all`` alone."""

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"
NOT_A_MESSAGE = {
    "B41": ("tests/cms/test_sealing.py", "RSA keys of odd sizes are refused as recipients"),
    "B42": ("tests/cms/test_sealing.py", "keys that only sign are refused as recipients"),
    "B43": ("tests/keys/test_pkcs12.py", "derivations without end"),
    "B70": ("tests/smime/test_streaming.py", "large messages stream"),
    "B84": ("tests/keys/test_pkcs12.py", "PKCS#12 of all kinds"),
    "B85": ("tests/keys/test_pem_and_der.py", "PEM of all kinds"),
}
"""Numbers that no small message can show, and where they are tried."""


def stored(vector: Envelope | Message, forger: Forger) -> bytes:
    raw = vector.make(forger)
    return message(entity(raw)) if isinstance(vector, Envelope) else raw


def place(number: int) -> str:
    return f"cur/{1_300_000_000 + number}.M1P1.host:2,S"


@pytest.fixture(scope="module")
def forger() -> Forger:
    return make_forger()


@pytest.fixture(scope="module")
def moved(whole: bool) -> list[int]:
    """Numbers of the vectors in the mailbox; the dearest three, as long as all others, with --all.

    Each is read alone as well, here or in ``tests/cms/test_bad_input.py``.
    """
    return [number for number, vector in enumerate(VECTORS) if whole or vector.effort < DEAR]


@pytest.fixture(scope="module")
def mailbox(forger: Forger, moved: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bad") / "Maildir"
    fill(directory, [Mail("", place(one), stored(VECTORS[one], forger)) for one in moved])
    return directory


@pytest.fixture(scope="module")
def before(mailbox: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in mailbox.rglob("cur/*")}


@pytest.fixture(scope="module")
def summary(forger: Forger, mailbox: Path, before: dict[str, bytes]) -> Summary:
    keys = mailbox.parent / "keys"
    keys.mkdir()
    forger.write_keys(keys)
    spec = jobs.Decrypt(
        mailbox=str(mailbox),
        job=mailbox.parent / "job",
        keys=KeySpecification((keys,)),
        workers=0,
        max_failures=100,  # most of it is made to fail
    )
    return jobs.run(spec)


def test_every_message_is_counted(summary: Summary, moved: list[int]) -> None:
    assert summary.messages == summary.counts.total() == len(moved)
    assert +summary.counts == Counter(VECTORS[number].message_state for number in moved)


def test_no_original_is_touched(summary: Summary, mailbox: Path, before: dict[str, bytes]) -> None:
    assert {path.name: path.read_bytes() for path in mailbox.rglob("cur/*")} == before


@pytest.mark.parametrize(
    ("number", "vector"),
    [
        pytest.param(
            *(number, vector),
            id=f"{vector.number} {vector.name}",
            marks=[pytest.mark.all_only] if vector.effort >= DEAR else [],
        )
        for number, vector in enumerate(VECTORS)
    ],
)
def test_a_job_says_what_the_message_is_and_why(
    number: int, vector: Envelope | Message, summary: Summary
) -> None:
    told = {entry.ref.partition(":")[0]: entry for entry in summary.not_done}
    entry = told.get(place(number).removeprefix("cur/").partition(":")[0])
    if entry is None:
        assert vector.message_state in {State.CHECKPOINTED, State.CLEAR}
        return
    assert entry.state is vector.message_state, entry.reason
    assert entry.reason
    if isinstance(vector, Message):
        assert vector.reason in entry.reason


@pytest.mark.parametrize(
    "vector",
    [pytest.param(vector, id=vector.name) for vector in MESSAGES if vector.number != "B67"],
)
def test_a_message_is_no_more_work_than_it_may_be(vector: Message, forger: Forger) -> None:
    content = BytesContent(vector.make(forger))
    keys = forger.keys()

    def look() -> None:
        for part in smime.take_inventory(content).parts:
            with suppress(MessageError):
                smime.find_opening(part, keys)

    assert effort(look) < vector.effort


# --- the list and the tests -----------------------------------------------------------------


def listed() -> list[str]:
    """The numbers of the sections on messages and keys in the list of bad inputs."""
    numbers = re.findall(r"^\| (B\d\d) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return [number for number in numbers if number <= "B72" or number in {"B84", "B85"}]


@pytest.mark.parametrize("number", listed())
def test_every_number_of_the_list_is_tried(number: str) -> None:
    if number in NOT_A_MESSAGE:
        path, _ = NOT_A_MESSAGE[number]
        assert re.search(rf"\b{number}\b", (TABLE.parents[1] / path).read_text(encoding="utf-8"))
    else:
        assert number in {vector.number for vector in VECTORS}
