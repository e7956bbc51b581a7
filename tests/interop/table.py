"""The tables of ``docs/interop.md``, held cell by cell against what a run of the tests sees.

Every cell comes from a test. A test that sees something else than the committed cell fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "interop.md"
WRITE_ANEW = "SECTOOL_WRITE_INTEROP"
"""Environment variable: 1 writes the document from what the run sees."""

OPENS = "opens"


class PeerName(StrEnum):
    """The columns, in their order."""

    OPENSSL = "OpenSSL"
    BOUNCY_CASTLE = "Bouncy Castle"
    THUNDERBIRD = "NSS of Thunderbird"
    DEBIAN_NSS = "NSS of Debian"
    GPGSM = "gpgsm"


class Section(StrEnum):
    """The tables, in their order; the values are their headings."""

    CONTENT = "They write, sectool opens: content encryption"
    TRANSPORT = "They write, sectool opens: RSA"
    AGREEMENT = "They write, sectool opens: key agreement"
    SECRETS = "They write, sectool opens: shared keys and passwords"
    CHOSEN = "They write, sectool opens: with algorithms of their own choice"
    FORMS = "They write, sectool opens: as mail"
    READ = "sectool writes, they open"


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    section: Section
    row: str
    peer: PeerName


_HEAD = f"""\
# Interoperability

What other programs write and sectool opens, and what sectool writes and other programs open. The
tests write these tables from what they see, never a person:

```
{WRITE_ANEW}=1 pytest tests/interop
```

Every later run fails where it sees something else than a cell says, or a cell has no test. Versions
may differ; these are the ones that were tried when the tables were written.

- **opens**: the content came back byte for byte, from every message of its kind.
- **unsupported**: sectool recognised the algorithm, named it, and left the message as it was.
- **cannot**: the program was asked, and refused with these words. An empty field was not tried.
- Key agreement is tried with P-256, P-384, P-521 and the brainpool curves of 256, 384 and 512
  bits, with and without user keying material where the program can add it; OAEP with MGF1 over
  each SHA, with and without a label.

"""


@dataclass
class Table:
    """The cells of the committed document, and those of this run."""

    is_written_anew: bool
    """The document is an outcome of this run, so nothing is compared."""
    committed: Mapping[Cell, str] = field(default_factory=lambda: read_cells(DOCUMENT))
    seen: dict[Cell, str] = field(default_factory=dict)
    versions: dict[PeerName, str] = field(default_factory=dict)

    def see(self, cell: Cell, outcome: str) -> None:
        """Takes what a test saw, and holds it against the document."""
        before = self.seen.setdefault(cell, outcome)
        assert before == outcome, f"{cell} is {outcome!r} here and {before!r} in another test"
        if not self.is_written_anew:
            said = self.committed.get(cell)
            assert outcome == said, f"{DOCUMENT.name} says {said!r} of {cell}; it is {outcome!r}"

    def write(self, cells: Iterable[Cell]) -> None:
        """Replaces the document, if every cell was seen in this run.

        Args:
            cells: all there are, in their order.
        """
        cells = list(cells)
        assert set(cells) == set(self.seen), "only a run of all the tests writes the document"
        in_order = {cell: self.seen[cell] for cell in cells}
        DOCUMENT.write_text("".join(lines(in_order, self.versions)), encoding="utf-8")


def lines(cells: Mapping[Cell, str], versions: Mapping[PeerName, str]) -> Iterator[str]:
    """A document with these cells."""
    yield _HEAD
    yield from _rows(("program", "version"), [(peer, versions[peer]) for peer in PeerName])
    for section in Section:
        rows = dict.fromkeys(cell.row for cell in cells if cell.section is section)
        peers = [
            peer
            for peer in PeerName
            if any(cell.peer is peer and cell.section is section for cell in cells)
        ]
        yield f"\n## {section}\n\n"
        fields = (
            (row, *(cells.get(Cell(section, row, peer), "") for peer in peers)) for row in rows
        )
        yield from _rows(("", *peers), fields)


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = tuple(head)
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(row) + " |\n"


def _fields(line: str) -> list[str]:
    return [text.strip() for text in line.split("|")[1:-1]]


def read_cells(document: Path) -> dict[Cell, str]:
    """The cells a document has, in its order; none where it is missing."""
    if not document.exists():
        return {}
    cells: dict[Cell, str] = {}
    _, *parts = document.read_text(encoding="utf-8").split("\n## ")
    for part in parts:
        heading, head, _, *rows = (line for line in part.splitlines() if line)
        peers = [PeerName(name) for name in _fields(head)[1:]]
        for row, *texts in map(_fields, rows):
            named = zip(peers, texts, strict=True)
            cells |= {Cell(Section(heading), row, peer): text for peer, text in named if text}
    return cells


def read_versions(document: Path) -> dict[PeerName, str]:
    """The versions a document has."""
    head, *_ = document.read_text(encoding="utf-8").split("\n## ")
    _, _, *rows = (line for line in head.splitlines() if line.startswith("|"))
    return {PeerName(name): version for name, version in map(_fields, rows)}
