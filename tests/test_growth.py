"""Hostile mail, key files and names cost in step with their size: four times as large is no square.

The cases are those of ``benchmarks/growth.py``; a time of sixteen times as much would be a square.
"""

from __future__ import annotations

import pytest

from benchmarks.growth import CASES, growth

MENDED = (
    "address-in-a-long-name",
    "blanks-in-lines",
    "certificate-with-wide-name",
    "combining-name-compared",
    "gzip-members",
    "lines-that-are-no-field",
    "multiparts-without-an-end",
    "overlapping-zip-entries",
    "parts-that-look-like-fields",
    "signers-by-key-identifier",
    "table-of-wide-names",
)
"""That were quadratic, or worse."""
OTHERS = sorted(CASES.keys() - set(MENDED))


@pytest.mark.parametrize("name", MENDED)
def test_what_was_a_square_grows_with_its_size(name: str) -> None:
    assert growth(name) < 9


@pytest.mark.all_only
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_four_times_as_large_takes_no_square_of_that(name: str) -> None:
    assert growth(name) < 9
