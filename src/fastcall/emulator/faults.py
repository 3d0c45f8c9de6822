"""Injected faults, and the streams that they apply to. Pure.

A scenario is a list of faults. A fault specifies what happens (`fault`), on which streams (`stream`, `every`,
`probability`, `times`; by default all) and where in the stream (`at_s`, seconds of audio). docs/emulator.md
describes each kind with an example.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from random import Random
from typing import Any, Final

from fastcall.emulator.messages import Code

__all__ = ["MAX_FAULTS", "Fault", "FaultPlan", "Kind", "StreamFaults", "parse_faults"]

MAX_FAULTS: Final = 1000


class Kind(StrEnum):
    STATUS = "status"
    QUOTA = "quota"
    RESET = "reset"
    GOAWAY = "goaway"
    STALL = "stall"
    SLOW_ACCEPT = "slow_accept"
    REFUSE_CONNECTIONS = "refuse_connections"
    NO_FINAL = "no_final"
    LATE_FINAL = "late_final"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of a scenario. None: not given."""

    fault: Kind
    stream: int | None = None
    """Only this stream, counted from 1 since the emulator's start (since the fault was armed, for control calls)."""
    every: int | None = None
    """Every n-th stream."""
    probability: float | None = None
    """Each stream with this probability, derived from the seed and the stream's number."""
    times: int | None = None
    """On at most this many streams."""
    at_s: float = 0.0
    """Seconds of the stream's audio after which it happens; for refuse_connections, of wall time."""
    for_s: float | None = None
    """How long a stall or the refusal of connections lasts; a stall without it never ends."""
    delay_s: float | None = None
    code: str | None = None
    message: str | None = None
    final: int | None = None
    """Which final of the stream, from 1; None: all."""


# kind -> the fields that it accepts besides those that select the stream, and which of them it requires.
_TAKES: Final[dict[Kind, tuple[set[str], set[str]]]] = {
    Kind.STATUS: ({"at_s", "code", "message"}, {"code"}),
    Kind.QUOTA: (set(), set()),
    Kind.RESET: ({"at_s"}, set()),
    Kind.GOAWAY: ({"at_s"}, set()),
    Kind.STALL: ({"at_s", "for_s"}, set()),
    Kind.SLOW_ACCEPT: ({"delay_s"}, {"delay_s"}),
    Kind.REFUSE_CONNECTIONS: ({"at_s", "for_s"}, {"for_s"}),
    Kind.NO_FINAL: ({"final"}, set()),
    Kind.LATE_FINAL: ({"final"}, set()),
    Kind.DUPLICATE: (set(), set()),
}
_AT_OFFSET: Final = {Kind.STATUS, Kind.RESET, Kind.GOAWAY, Kind.STALL}
_CHOOSE: Final = {"stream", "every", "probability", "times"}
_WHOLE: Final = {"stream", "every", "times", "final"}
_NUMBERS: Final = {"probability", "at_s", "for_s", "delay_s"}
_FIELDS: Final = {field.name for field in fields(Fault)}


def parse_faults(scenario: Any) -> tuple[Fault, ...]:
    """Faults from a parsed YAML or JSON scenario: `{faults: [...]}`, a list, or one fault.

    Raises ValueError that says what is wrong, and where.
    """
    if isinstance(scenario, Mapping) and "faults" in scenario:
        unknown = set(scenario) - {"faults"}
        if unknown:
            raise ValueError(f"unknown key {_names(unknown)} beside 'faults'")
        scenario = scenario["faults"]
    entries = [scenario] if isinstance(scenario, Mapping) else scenario
    if not isinstance(entries, list):
        raise ValueError("a scenario is a list of faults, or a mapping with the key 'faults'")
    if len(entries) > MAX_FAULTS:
        raise ValueError(f"at most {MAX_FAULTS} faults, got {len(entries)}")
    return tuple(_parse_fault(entry, f"fault {number}") for number, entry in enumerate(entries, 1))


def _parse_fault(entry: Any, place: str) -> Fault:
    if not isinstance(entry, Mapping) or "fault" not in entry:
        raise ValueError(f"{place}: a fault is a mapping with the key 'fault'")
    try:
        kind = Kind(entry["fault"])
    except ValueError:
        raise ValueError(f"{place}: unknown fault {entry['fault']!r}; there are {_names(Kind)}") from None
    place = f"{place} ({kind})"
    takes, needs = _TAKES[kind]
    choose = set() if kind is Kind.REFUSE_CONNECTIONS else _CHOOSE
    unknown = {str(key) for key in entry} - takes - choose - {"fault"}
    if unknown:
        known = "is not known" if unknown - _FIELDS else "does not apply"
        raise ValueError(f"{place}: {_names(unknown)} {known}; it accepts {_names(takes | choose)}")
    if needs - set(entry):
        raise ValueError(f"{place}: needs {_names(needs - set(entry))}")
    for name, value in entry.items():
        _check(name, value, place)
    return Fault(**{**entry, "fault": kind})


def _check(name: str, value: Any, place: str) -> None:
    if name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{place}: {name} must be a whole number >= 1, got {value!r}")
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{place}: {name} must be a number >= 0, got {value!r}")
        if name == "probability" and value > 1:
            raise ValueError(f"{place}: probability must be at most 1, got {value!r}")
    if name == "code" and (not isinstance(value, str) or value not in Code.__members__ or value == "OK"):
        raise ValueError(f"{place}: not a gRPC error: {value!r}")
    if name == "message" and (not isinstance(value, str) or len(value) > 1000):
        raise ValueError(f"{place}: message must be a text of at most 1000 characters")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(str(name) for name in names)) or "nothing"


@dataclass(slots=True)
class _Armed:
    """An armed fault: it counts streams after number `after`; `serial` distinguishes equal faults."""

    fault: Fault
    after: int
    serial: int
    chosen: int = 0

    def applies(self, stream: int, seed: int) -> bool:
        fault, count = self.fault, stream - self.after
        if fault.times is not None and self.chosen >= fault.times:
            return False
        if fault.stream is not None and count != fault.stream:
            return False
        if fault.every is not None and count % fault.every:
            return False
        if fault.probability is None:
            return True
        return Random(f"{seed}/{self.serial}/{stream}").random() < fault.probability


class FaultPlan:
    """The armed faults, and counts of those that fired. Not thread-safe."""

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._serials = 0
        self._armed: list[_Armed] = []
        self.fired: Counter[str] = Counter()
        """How often each kind has happened."""
        self.add(faults, after_stream=0)

    @property
    def armed(self) -> list[dict[str, Any]]:
        """The armed faults, in the format of a scenario."""
        return [
            {name: value for name, value in asdict(armed.fault).items() if value is not None and value != 0.0}
            for armed in self._armed
        ]

    def add(self, faults: Iterable[Fault], *, after_stream: int) -> None:
        """Arm more faults; they count streams after `after_stream`. Raises ValueError for too many."""
        new = list(faults)
        if len(self._armed) + len(new) > MAX_FAULTS:
            raise ValueError(f"at most {MAX_FAULTS} faults can be armed")
        for fault in new:
            self._serials += 1
            self._armed.append(_Armed(fault, after_stream, self._serials))

    def clear(self) -> None:
        self._armed.clear()

    def choose(self, stream: int) -> list[Fault]:
        """The faults of stream number `stream` (from 1 since the start). Call it once per stream."""
        chosen = []
        for armed in self._armed:
            if armed.fault.fault is not Kind.REFUSE_CONNECTIONS and armed.applies(stream, self._seed):
                armed.chosen += 1
                chosen.append(armed.fault)
        return chosen

    def of_server(self) -> list[Fault]:
        """The faults that concern the server and not a stream."""
        return [armed.fault for armed in self._armed if armed.fault.fault is Kind.REFUSE_CONNECTIONS]


class StreamFaults:
    """The faults of one stream, and when they are due."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._offset = [fault for fault in self._faults if fault.fault in _AT_OFFSET]
        self.fired: list[Kind] = []
        """The faults that fired since the driver last called `take_fired`."""
        self.duplicates = self._first(Kind.DUPLICATE) is not None
        self.has_no_quota = self._first(Kind.QUOTA) is not None

    @property
    def accept_delay_s(self) -> float:
        slow = self._first(Kind.SLOW_ACCEPT)
        return slow.delay_s or 0.0 if slow is not None else 0.0

    def due(self, audio_s: float) -> list[Fault]:
        """The faults whose position in the audio is reached; each is returned once."""
        due = [fault for fault in self._offset if fault.at_s <= audio_s]
        if due:
            self._offset = [fault for fault in self._offset if fault.at_s > audio_s]
        return due

    def swallows_final(self, number: int) -> bool:
        return self._concerns_final(Kind.NO_FINAL, number)

    def delays_final(self, number: int) -> bool:
        return self._concerns_final(Kind.LATE_FINAL, number)

    def take_fired(self) -> list[Kind]:
        fired, self.fired = self.fired, []
        return fired

    def _concerns_final(self, kind: Kind, number: int) -> bool:
        concerns = any(fault.fault is kind and fault.final in (None, number) for fault in self._faults)
        if concerns:
            self.fired.append(kind)
        return concerns

    def _first(self, kind: Kind) -> Fault | None:
        return next((fault for fault in self._faults if fault.fault is kind), None)
