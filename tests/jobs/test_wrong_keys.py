"""Garbage is never taken for plaintext (G3): keys that fit a recipient's name but not its mail."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.envelopes import KeyEncryption, Mode
from benchmarks.wrong_key_mail import (
    SIZES,
    Keys,
    Kind,
    Made,
    Maker,
    Trial,
    make_curve_keys,
    make_keys,
)
from benchmarks.wrong_keys import ON_TRIAL, SHARES, run_in_processes, run_trials
from sectool import cms, jobs, smime
from sectool.errors import MessageError
from sectool.keys import KeySpecification, load_key_history
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support import checker
from tests.support.mailboxes import Mail, encrypted, fill

WHOLE_TRIALS = 20_000
PROCESSES = 2


@pytest.fixture(scope="session")
def trials(*, whole: bool) -> int:
    """An eighth of them in the normal run."""
    return WHOLE_TRIALS if whole else WHOLE_TRIALS // 8


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The held key and the one mail went to have the same issuer and serial number."""
    return make_keys(tmp_path_factory.mktemp("renewed"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The same with quicker keys of 1024 bits, where the private key is not what is tried."""
    return make_keys(tmp_path_factory.mktemp("small"), key_bits=1024)


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The same with keys on P-256."""
    return make_curve_keys(tmp_path_factory.mktemp("curve"))


# --- the acceptance rule -------------------------------------------------------------------


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("key_encryption", KeyEncryption)
def test_mail_of_the_trials_opens_with_the_key_it_was_written_to(
    key_encryption: KeyEncryption, mode: Mode, small: Keys, curve: Keys, tmp_path: Path
) -> None:
    """Otherwise the trials would try nothing."""
    keys = curve if key_encryption is KeyEncryption.ECDH else small
    (tmp_path / "missing.pem").write_bytes(keys.missing)
    history = load_key_history(KeySpecification((tmp_path,)), None)
    for one in made(Kind(Trial.WRONG_KEY, key_encryption, mode), keys, 40):
        content = BytesContent(one.raw)
        (part,) = smime.take_inventory(content).parts
        if len(one.content) >= 150:
            inner = smime.find_opening(part, history).inner
            assert inner.sha256 == hashlib.sha256(one.content).hexdigest()


@pytest.mark.parametrize("kind", [*SHARES, *ON_TRIAL], ids=str)
def test_no_wrong_private_key_is_accepted(
    kind: Kind, small: Keys, curve: Keys, whole: bool
) -> None:
    keys = curve if kind.key_encryption is KeyEncryption.ECDH else small
    trials = 1500 if whole else 150
    figures = run_trials(kind, keys, (0, trials))
    assert (figures.trials, figures.accepted) == (trials, 0)
    assert figures.review <= figures.padded
    if kind.key_encryption is not KeyEncryption.PKCS1V15 or kind.trial is Trial.OTHER_NAME:
        assert (figures.right_length, figures.review) == (0, 0)


def test_no_message_to_another_key_of_the_same_name_is_accepted(small: Keys, trials: int) -> None:
    figures = run_in_processes(Kind(Trial.WRONG_KEY), [small], trials, PROCESSES)
    assert figures.trials == trials
    assert figures.accepted == 0
    assert figures.review <= figures.padded <= figures.right_length
    # A wrong key gives a content-encryption key of the right length now and then, or the
    # trials tried nothing.
    assert 0 < figures.right_length < trials // 50


def test_no_wrong_content_encryption_key_of_the_right_length_is_accepted(
    small: Keys, trials: int
) -> None:
    figures = run_in_processes(Kind(Trial.WRONG_CONTENT_KEY), [small], trials, PROCESSES)
    assert (figures.trials, figures.right_length) == (trials, trials)
    assert figures.accepted == 0
    # What fits is left to a person, since the recipient names the key. The garbage follows
    # from the seeds, so these figures are the same every time.
    assert figures.review == figures.padded
    usual = trials / 256
    assert abs(figures.padded - usual) < 4 * usual**0.5


def test_no_random_plaintext_is_accepted_where_even_the_padding_passes(
    small: Keys, trials: int
) -> None:
    trials //= 5
    kind = Kind(Trial.RANDOM_PLAINTEXT)
    figures = run_in_processes(kind, [small], trials, PROCESSES, chunk_size=2000)
    assert (figures.trials, figures.padded) == (trials, trials)
    assert figures.accepted == 0
    assert figures.review == trials


def test_random_bytes_never_pass_the_strict_test(trials: int) -> None:
    source = random.Random(2005)
    verdicts: Counter[smime.Verdict] = Counter()
    for _ in range(5 * trials):
        witness = smime.PlaintextWitness(cms.ID_DATA)
        witness.write(source.randbytes(source.choice(SIZES)))
        verdicts[witness.judge()[0]] += 1
    assert verdicts[smime.Verdict.PLAINTEXT] == 0
    assert verdicts[smime.Verdict.GARBAGE] > 0.9 * verdicts.total()


# --- a whole run -----------------------------------------------------------------------------


def made(kind: Kind, keys: Keys, count: int) -> list[Made]:
    maker = Maker(kind, keys, seed=1)
    return [maker.make() for _ in range(count)]


def test_a_run_with_wrong_keys_writes_no_checkpoint_but_of_what_opens(
    renewed: Keys, tmp_path: Path
) -> None:
    garbage = [
        *made(Kind(Trial.WRONG_KEY), renewed, 150),
        *made(Kind(Trial.WRONG_CONTENT_KEY), renewed, 50),
        *made(Kind(Trial.RANDOM_PLAINTEXT), renewed, 100),
    ]
    pem = renewed.directory / "held.pem"
    good = encrypted(1, checker.Key(pem, pem))
    mail = [Mail("", f"cur/13{n:08}.M1P1.host:2,S", one.raw) for n, one in enumerate(garbage)]
    maildir = tmp_path / "Maildir"
    fill(maildir, [*mail, Mail("", "cur/1400000000.M1P1.host:2,S", good)])
    census = checker.census(maildir)
    spec = jobs.Decrypt(
        mailbox=str(maildir),
        job=tmp_path / "job",
        keys=KeySpecification((renewed.directory,)),
        workers=0,
        max_failures=100,  # most of it is made to fail
    )
    summary = jobs.run(spec)
    assert summary.counts[State.CHECKPOINTED] == 1
    assert summary.counts[State.MALFORMED] + summary.counts[State.REVIEW] == len(garbage)
    # The random plaintexts, and what else happened to be padded.
    assert 100 <= summary.counts[State.REVIEW] < 110
    malformed = [one.reason for one in summary.not_done if one.state is State.MALFORMED]
    assert set(malformed) == {"the content does not decrypt with the key its recipient names"}
    files = [path for path in (tmp_path / "job" / "checkpoints").rglob("*") if path.is_file()]
    (envelope,) = checker.envelopes(good)
    assert [path.stem for path in files] == [hashlib.sha256(envelope).hexdigest()]
    assert checker.census(maildir) == census


# --- the right key beside the wrong one --------------------------------------------------------


@pytest.mark.parametrize("missing_first", [False, True])
def test_with_both_keys_of_a_name_every_message_opens_with_the_right_one(
    renewed: Keys, tmp_path: Path, missing_first: bool
) -> None:
    (tmp_path / "missing.pem").write_bytes(renewed.missing)
    paths = (tmp_path, renewed.directory) if missing_first else (renewed.directory, tmp_path)
    history = load_key_history(KeySpecification(paths), None)
    assert len(history) == 2
    whole = (one for one in made(Kind(Trial.WRONG_KEY), renewed, 400) if len(one.content) >= 150)
    for one in islice(whole, 100):
        content = BytesContent(one.raw)
        (part,) = smime.take_inventory(content).parts
        inner = smime.find_opening(part, history).inner
        assert inner.sha256 == hashlib.sha256(one.content).hexdigest()


def test_a_key_of_another_size_under_the_same_name_opens_nothing(
    tmp_path: Path, renewed: Keys
) -> None:
    smaller = make_keys(tmp_path, key_bits=1024)
    history = load_key_history(KeySpecification((smaller.directory,)), None)
    for one in made(Kind(Trial.WRONG_KEY), renewed, 100):
        content = BytesContent(one.raw)
        (part,) = smime.take_inventory(content).parts
        with pytest.raises(MessageError):
            smime.find_opening(part, history)
