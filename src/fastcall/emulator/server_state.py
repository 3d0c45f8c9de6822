"""The state that a server's streams share: engine, quotas, faults, recordings, counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fastcall.emulator.admission import Admission
from fastcall.emulator.faults import FaultPlan, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastcall.emulator.engines.base import Engine
    from fastcall.emulator.faults import Fault
    from fastcall.emulator.options import Options
    from fastcall.emulator.record import Recorder
    from fastcall.emulator.stream_handler import StreamHandler

__all__ = ["ServerState"]


class ServerState:
    """One per server; event loop only."""

    def __init__(
        self, options: Options, engine: Engine, *, faults: Sequence[Fault] = (), recorder: Recorder | None = None
    ) -> None:
        self.options = options
        self.engine = engine
        self.recorder = recorder
        self.admission = Admission(options)
        self.faults = FaultPlan(faults, seed=options.seed)
        self.opened = 0
        """Streams opened since the start; the last one's number."""
        self.open: dict[int, StreamHandler] = {}
        self.ended: Counter[str] = Counter()
        """How streams ended: names of status codes."""
        self._audio_s = 0.0  # of ended streams

    def began(self, handler: StreamHandler) -> int:
        """A stream opened. Returns its number."""
        self.opened += 1
        self.open[self.opened] = handler
        return self.opened

    def over(self, number: int, code: str, audio_s: float) -> None:
        """A stream ended. Called once for each."""
        del self.open[number]
        self.ended[code] += 1
        self._audio_s += audio_s

    def count_faults(self, kinds: Sequence[Kind]) -> None:
        self.faults.fired.update(kind.value for kind in kinds)

    def status(self) -> dict[str, Any]:
        """What `--status` and the status page show."""
        audio_s = self._audio_s + sum(handler.audio_s for handler in self.open.values())
        return {
            "engine": self.options.engine,
            "streams": {"open": len(self.open), "opened": self.opened, "ended": dict(self.ended)},
            "audio_s": round(audio_s, 2),
            "faults": {"fired": dict(self.faults.fired), "armed": self.faults.armed},
        }
