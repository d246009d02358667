"""Where the numbers of a result come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...data import load as load_data
from ..sweeps import Row, Sweep

UNKNOWN = "not recorded"
"""The code of rows that were made before rows knew it."""


@dataclass(frozen=True)
class Origin:
    """Where the rows of a result come from; prints as one paragraph.

    Attributes:
        command: What makes the file again.
        dates: First and last day of the runs.
        data: Name and fingerprints (train, test) of every data set.
        code: Hashes of the experiment's function and of the library's files, one text for each pair that made rows.
        versions: Sets of versions the rows were made with.
        hardware: Machines, devices and threads.
        seconds: Sum of the cells' seconds.
    """

    command: str
    dates: tuple[str, ...]
    data: dict[str, tuple[str, ...]]
    code: tuple[str, ...]
    versions: tuple[str, ...]
    hardware: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        sets = "; ".join(f"{name} (train {marks[0]}, test {marks[1]})" for name, marks in self.data.items())
        return (
            f"made by `{self.command}` on {' to '.join(self.dates)} from {sets or 'data drawn by the seed'}; "
            f"code {'; '.join(self.code)}; {'; '.join(self.versions)}; {'; '.join(self.hardware)}; "
            f"{self.seconds / 60:.0f} minutes of computing"
        )

    @classmethod
    def of(cls, made: Sweep, rows: Sequence[Row]) -> Origin:
        """From the records of a sweep's rows, and the data sets as they are here."""
        runs = [row.run for row in rows]
        days = sorted({run["date"] for run in runs})
        return cls(
            command=f"make results ONLY={made.name}",
            dates=tuple(dict.fromkeys([days[0], days[-1]])),
            data={name: tuple(part.fingerprint for part in load_data(name)) for name in made.data},
            code=_every(_code(run) for run in runs),
            versions=_every(f"torch {r['torch']}, badnets_lib {r['badnets_lib']}, Python {r['python']}" for r in runs),
            hardware=_every(f"{r['machine']}, {r['device']}, threads a cell: {r['threads']}" for r in runs),
            seconds=round(sum(run["seconds"] for run in runs), 1),
        )


def _every(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))


def _code(run: dict[str, Any]) -> str:
    return f"function {run['code']['function']}, library {run['code']['library']}" if "code" in run else UNKNOWN
