"""Runs commands of sectool in forks of this process, and stops them dead at named crash points.

A fault is written ``crash@N`` (die by SIGKILL at the N-th point that is passed, counted from 1
over all names), ``crash@NAME`` or ``crash@NAME:N`` (at the first or N-th passing of one name), or
``trace@FILE`` (append the name of every point to FILE and go on).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sectool import jobs, sight
from sectool.cli import main
from sectool.crashpoints import Hook, install


def hook_of(fault: str) -> Hook:
    """What a fault does at each point."""
    kind, _, argument = fault.partition("@")
    if kind == "trace":
        return _tracing(Path(argument))
    assert kind == "crash", fault
    wanted, _, count = argument.partition(":")
    return _dying(None, int(wanted)) if wanted.isdigit() else _dying(wanted, int(count or "1"))


def _tracing(trace: Path) -> Hook:
    def hook(name: str) -> None:
        with trace.open("a", encoding="ascii") as stream:
            stream.write(f"{name}\n")

    return hook


def _dying(wanted: str | None, number: int) -> Hook:
    passed: Counter[str] = Counter()

    def hook(name: str) -> None:
        passed[name] += 1
        if number == (passed.total() if wanted is None else passed[name] * (name == wanted)):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def in_child(act: Callable[[], object], fault: str = "") -> int:
    """Acts in a fork of this process, with a fault; empty: without one.

    Returns:
        Its exit code; minus the number of the signal that it died of.
    """
    return in_child_with(hook_of(fault) if fault else None, act)


def start_command(words: Sequence[object], prepare: Callable[[], object]) -> int:
    """Starts a command of ``sectool`` in a fork of this process, which needs no imports.

    Args:
        words: of the command line.
        prepare: called in the fork before: what it has for its standard streams, its environment
            and its rights are its own.

    Returns:
        The number of the process, which ``wait_for`` waits for.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        prepare()
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (
            open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            for number in (1, 2)
        )
        sys.argv = ["sectool", *map(str, words)]
        main()
    except SystemExit as ending:
        sys.stdout.flush()
        code = ending.code if isinstance(ending.code, int) else 1
    finally:
        os._exit(code)


def wait_for(child: int) -> int:
    """Exit code of a fork, when it has ended; minus the number of the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _give_streams(*paths: Path) -> None:
    """Lets standard output, then standard error, of this process write to new files."""
    for number, path in enumerate(paths, 1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def command_in_child(
    words: Sequence[object],
    *outputs: Path,
    fault: str = "",
    prepare: Callable[[], object] = lambda: None,
) -> int:
    """Carries out a command of ``sectool`` in a fork of this process.

    Args:
        words: of the command line.
        outputs: receive its standard output, and its standard error.
        fault: see above; empty: none.
        prepare: called in the fork before.

    Returns:
        Its exit code; minus the number of the signal that it died of.
    """

    def begin() -> None:
        _give_streams(*outputs)
        prepare()
        install(hook_of(fault) if fault else None)

    return wait_for(start_command(words, begin))


def in_child_with(hook: Hook | None, act: Callable[[], object]) -> int:
    """The same, with what is to happen at each point."""
    child = os.fork()
    if child:
        return wait_for(child)
    code = 1
    try:
        install(hook)
        act()
        code = 0
    finally:
        os._exit(code)


def killed_at(spec: jobs.Specification, name: str) -> None:
    """Runs until the first passing of a point (or the point of that number), and dies there."""
    code = in_child(lambda: jobs.run(spec), f"crash@{name}")
    assert code == -signal.SIGKILL, f"{name} was not reached"


def _seeing_each_change(spec: jobs.Specification) -> None:
    """A run as with a clock so fine that the points it passes depend on no moment."""
    sight.CLOCK_GRAIN = 0
    jobs.run(spec)


FEW = 5
"""Kills of a harness whose command another one kills at each of its points."""

SEVERAL = 6
"""Kills of a harness that names its points."""


def spread(numbers: Sequence[int], most: int | None) -> list[int]:
    """At most so many of them, as far from each other as can be; None: all."""
    if most is None or len(numbers) <= most:
        return list(numbers)
    return [numbers[(2 * index + 1) * len(numbers) // (2 * most)] for index in range(most)]


class Trial:
    """A directory that is put back as it was before a run, for every kill of that run.

    Args:
        directory: all that the run reads and writes, as it is before it.
        whole: every passing of every point (``--all``). Without it, of each distinct point the
            first passing, the commits of the log after another act each being one; and of points
            between which nothing changed in the directory the first alone, since a kill leaves
            the same there.
        beside: another harness of the normal run kills the same command at each of these points;
            this one, of a variant or of another judgement, takes a few of them, from the first
            to the last.
    """

    def __init__(self, directory: Path, *, whole: bool, beside: bool = False) -> None:
        self._directory = directory
        self._kept = directory.with_name(f"{directory.name}-kept")
        self._trace = directory.with_name(f"{directory.name}-trace")
        self._whole = whole
        self._most = FEW if beside and not whole else None
        self._kills = 0
        self._traced: tuple[jobs.Specification, list[tuple[str, str]]] | None = None
        self._directory.rename(self._kept)
        self.put_back()

    def put_back(self) -> None:
        """Makes the directory what it was before the run."""
        if self._directory.exists():
            shutil.rmtree(self._directory)
        shutil.copytree(self._kept, self._directory)

    def points(self, spec: jobs.Specification) -> list[str]:
        """Names of all crash points that the run passes, in order; the run is carried out."""
        return [name for name, _ in self._passed(spec, states=not self._whole)]

    def kills(
        self, spec: jobs.Specification, among: Callable[[list[str]], list[int]] | None = None
    ) -> Iterator[str]:
        """Kills the run at one point after the other, each time from the beginning.

        Args:
            spec: of the run.
            among: numbers, counted from 1, of those of all points that are to be killed at;
                the sample is several of them.

        Yields:
            Which point it was, for a person, while the directory is as the kill left it.
        """
        passed = self._passed(spec, states=among is None and not self._whole)
        if among is None:
            chosen = spread(_chosen(passed, whole=self._whole), self._most)
        else:
            found = among([name for name, _ in passed])
            chosen = spread(found, None if self._whole else SEVERAL)
        assert chosen
        for number in chosen:
            self.put_back()
            code = in_child(lambda: _seeing_each_change(spec), f"crash@{number}")
            assert code == -signal.SIGKILL, f"point {number} was not reached"
            self._kills += 1
            yield f"killed at point {number} of {len(passed)}, {passed[number - 1][0]}"

    def is_run_once_more(self) -> bool:
        """Whether the end that was reached after this kill is to be run on again.

        It is the same end after all kills, as the test holds; so of the sample every third.
        """
        return self._whole or self._kills % 3 == 1

    def _passed(self, spec: jobs.Specification, *, states: bool) -> list[tuple[str, str]]:
        """Each point that the run passes, and a digest of the directory at that moment, if asked.

        What was asked last is remembered.
        """
        if self._traced is not None and self._traced[0] is spec:
            return self._traced[1]
        self.put_back()
        self._trace.unlink(missing_ok=True)

        def hook(name: str) -> None:
            state = digest_of(self._directory) if states else "-"
            with self._trace.open("a", encoding="ascii") as trace:
                trace.write(f"{name} {state}\n")

        assert in_child_with(hook, lambda: _seeing_each_change(spec)) == 0
        lines = self._trace.read_text(encoding="ascii").splitlines()
        passed = [(name, state) for name, state in map(str.split, lines)]
        self._traced = (spec, passed)
        return passed


def digest_of(directory: Path) -> str:
    """Changes with every name, size, mode, time and byte below a directory."""
    total = hashlib.sha256()
    waiting = [os.fspath(directory)]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            facts = (entry.path, status.st_mode, status.st_size, status.st_nlink)
            total.update(repr(facts).encode())
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                total.update(repr(status.st_mtime_ns).encode() + Path(entry.path).read_bytes())
    return total.hexdigest()


def _chosen(passed: list[tuple[str, str]], *, whole: bool) -> list[int]:
    """Numbers, counted from 1, of the points to be killed at."""
    numbers = range(1, len(passed) + 1)
    if whole:
        return list(numbers)
    kinds: set[tuple[str, str, int]] = set()
    states: set[str] = set()
    chosen = []
    act, commits = "", 0
    for number, (name, state) in zip(numbers, passed, strict=True):
        is_commit = name.startswith("joblog.commit.")
        act, commits = (act, commits + 1) if is_commit else (name, 0)
        kind = (name, act, commits) if is_commit else (name, "", 0)
        if kind not in kinds and state not in states:
            chosen.append(number)
            states.add(state)
        kinds.add(kind)
    return chosen
