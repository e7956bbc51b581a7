"""Keys and certificates that others made: RFC 4134, RFC 9216, and ML-KEM of RFC 9935."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sectool.errors import UsageError
from sectool.keys.history import KeyHistory

Load = Callable[..., KeyHistory]


def test_the_keys_of_rfc_4134_find_their_certificates(corpus: Path, load: Load) -> None:
    history = load(corpus / "rfc4134")
    rsa = [entry for entry in history.entries if entry.algorithm == "RSA 1024"]
    assert len(rsa) == 4
    assert all(entry.has_certificate for entry in rsa)


def test_the_keys_of_rfc_9216_find_their_certificates(corpus: Path, load: Load) -> None:
    history = load(corpus / "rfc9216-cms")
    certificates = len(list((corpus / "rfc9216-cms").glob("*.crt")))
    assert len(history.keys) == len(list((corpus / "rfc9216-cms").glob("*.p8.pem")))
    assert [entry.has_certificate for entry in history.entries] == [True] * certificates
    assert history.problems == ()


@pytest.mark.parametrize("form", ["seed", "both"])
@pytest.mark.parametrize("size", ["768-2.16.840.1.101.3.4.4.2", "1024-2.16.840.1.101.3.4.4.3"])
def test_an_ml_kem_key_loads_by_its_seed(form: str, size: str, corpus: Path, load: Load) -> None:
    folder = corpus / "ml-kem" / "redhound"
    history = load(folder / f"mlkem{size}_{form}_priv.der", folder / f"mlkem{size}_ee.der")
    (entry,) = history.entries
    assert (entry.algorithm, entry.has_certificate) == (f"ML-KEM-{size.partition('-')[0]}", True)


def test_an_ml_kem_key_without_seed_is_named(corpus: Path, load: Load) -> None:
    path = next((corpus / "ml-kem" / "redhound").glob("mlkem768*expandedkey_priv.der"))
    with pytest.raises(UsageError, match="without its seed"):
        load(path)
