"""``docs/interop.md`` is what the tests saw: the same cells, and nothing that a person added."""

from __future__ import annotations

from collections import Counter

from tests.interop.reading import READINGS, Reading
from tests.interop.table import DOCUMENT, Table, lines, read_cells, read_versions
from tests.interop.writing import WRITINGS, Writing

TRIALS: tuple[Writing | Reading, ...] = (*WRITINGS, *READINGS)


def test_every_cell_of_the_document_has_a_test_and_every_test_its_cell(table: Table) -> None:
    assert table.is_written_anew or set(read_cells(DOCUMENT)) == {trial.cell for trial in TRIALS}


def test_nothing_of_the_document_is_written_by_hand(table: Table) -> None:
    written = "".join(lines(read_cells(DOCUMENT), read_versions(DOCUMENT)))
    assert table.is_written_anew or DOCUMENT.read_text(encoding="utf-8") == written


def test_every_trial_has_a_name_of_its_own() -> None:
    counted = Counter(trial.name for trial in TRIALS)
    assert {name for name, count in counted.items() if count > 1} == set()
