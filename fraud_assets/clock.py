"""The simulation clock: the last day that has closed, kept beside the lake.

Without it a file or folder source shows all its days at once. With it, history is replayed as
if it were live: a source shows the days up to the clock, and nothing later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class SimulationClock:
    """Reads and moves the clock file in `data_dir`."""

    data_dir: Path

    @property
    def _file(self) -> Path:
        return self.data_dir / "clock.json"

    def today(self) -> date | None:
        """The last closed day, or None where the clock has never been set."""
        if not self._file.exists():
            return None
        return date.fromisoformat(json.loads(self._file.read_text("utf-8"))["today"])

    def set(self, day: date) -> None:
        """Move the clock to `day`.

        Raises:
            ValueError: the clock would run backwards; what was scored as live cannot be unlived.
        """
        now = self.today()
        if now is not None and day < now:
            raise ValueError(f"the clock stands at {now} and does not run back to {day}")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"today": day.isoformat()}) + "\n", "utf-8")
        temporary.replace(self._file)
