"""What one key file may cost: each distinct key is checked once, and only so many of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sectool import budget
from sectool.asn1 import der
from sectool.budget import Work
from sectool.errors import UsageError
from sectool.keys.history import KeyHistory
from sectool.keys.problems import ProblemKind

Load = Callable[..., KeyHistory]
Encode = Callable[..., bytes]


@pytest.fixture
def one_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "KEY_FILE", {**budget.KEY_FILE, Work.VALIDATION: 1})


@pytest.mark.usefixtures("one_validation")
def test_a_key_is_checked_once_however_often_and_in_whatever_form_it_stands_in_the_files(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, load: Load, tmp_path: Path
) -> None:
    old_form = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    forms = encode(rsa_key, pem=True) + old_form
    for number in range(3):
        (tmp_path / f"{number}.pem").write_bytes(forms * 5)
    history = load(tmp_path)
    assert (len(history), history.problems) == (1, ())


@pytest.mark.usefixtures("one_validation")
def test_a_file_of_more_keys_than_the_limit_stays_shut_and_costs_no_other_file(
    rsa_key: rsa.RSAPrivateKey,
    ec_key: ec.EllipticCurvePrivateKey,
    small_rsa_key: rsa.RSAPrivateKey,
    encode: Encode,
    load: Load,
    tmp_path: Path,
) -> None:
    (tmp_path / "many.pem").write_bytes(encode(rsa_key, pem=True) + encode(ec_key, pem=True))
    (tmp_path / "one.pem").write_bytes(encode(small_rsa_key, pem=True))
    history = load(tmp_path)
    assert len(history) == 1
    (problem,) = history.problems
    assert (problem.path.name, problem.kind) == ("many.pem", ProblemKind.LIMIT)
    assert problem.withholds_key
    assert problem.reason == (
        "beyond the limit of 1 validations of private keys; --limit-factor 10 tries harder"
    )
    with budget.limits_times(2):
        assert len(load(tmp_path)) == 3


@pytest.mark.usefixtures("one_validation")
def test_longer_keys_count_by_the_cube_of_their_length(
    encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "long.pem"
    path.write_bytes(encode(rsa.generate_private_key(65537, 2560), pem=True))
    with pytest.raises(UsageError, match="limit of 1 validations"):
        load(path)
    with budget.limits_times(2):
        assert len(load(path)) == 1


@pytest.mark.usefixtures("one_validation")
def test_looking_for_the_primes_of_a_key_is_counted_as_well(
    rsa_key: rsa.RSAPrivateKey, load: Load, tmp_path: Path
) -> None:
    own = rsa_key.private_numbers()
    numbers = (0, own.public_numbers.n, own.public_numbers.e, own.d, 0, 0, 0, 0, 0)
    path = tmp_path / "without-primes.der"
    path.write_bytes(der.sequence(*map(der.integer, numbers)))
    with pytest.raises(UsageError, match="limit of 1 validations"):
        load(path)
    with budget.limits_times(20):
        assert len(load(path)) == 1
