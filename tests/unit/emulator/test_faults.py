"""Scenarios: what is taken, what is refused and in which words; which streams a fault meets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall.emulator.faults import MAX_FAULTS, Fault, FaultPlan, Kind, StreamFaults, parse_faults
from fastcall.emulator.messages import Code

STATUS = {"fault": "status", "code": "UNAVAILABLE"}


@pytest.mark.parametrize("scenario", [STATUS, [STATUS], {"faults": [STATUS]}])
def test_a_scenario_is_a_fault_or_a_list_of_them(scenario: Any) -> None:
    assert parse_faults(scenario) == (Fault(Kind.STATUS, code="UNAVAILABLE"),)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("status", "a scenario is a list of faults"),
        ({"faults": [], "seed": 1}, "unknown key 'seed' beside 'faults'"),
        ([3], "fault 1: a fault is a mapping with the key 'fault'"),
        ([STATUS, {"fault": "explode"}], "fault 2: unknown fault 'explode'; there are 'duplicate', 'goaway', "),
        ([{"fault": "status"}], "fault 1 (status): needs 'code'"),
        ([{**STATUS, "code": "OK"}], "not a gRPC error: 'OK'"),
        ([{**STATUS, "code": "unavailable"}], "not a gRPC error: 'unavailable'"),
        ([{**STATUS, "code": []}], "not a gRPC error: []"),
        ([{**STATUS, "colour": "red"}], "'colour' is not known; it accepts 'at_s', 'code', "),
        ([{**STATUS, "for_s": 1}], "'for_s' does not apply"),
        ([{"fault": "refuse_connections", "for_s": 1, "stream": 2}], "'stream' does not apply"),
        ([{**STATUS, "stream": 0}], "stream must be a whole number >= 1, got 0"),
        ([{**STATUS, "stream": True}], "stream must be a whole number >= 1"),
        ([{**STATUS, "at_s": -1}], "at_s must be a number >= 0, got -1"),
        ([{**STATUS, "at_s": "1"}], "at_s must be a number >= 0"),
        ([{**STATUS, "at_s": float("nan")}], "at_s must be a number >= 0"),
        ([{**STATUS, "probability": 1.5}], "probability must be at most 1"),
        ([{**STATUS, "message": "x" * 1001}], "message must be a text of at most 1000 characters"),
        ([STATUS] * (MAX_FAULTS + 1), f"at most {MAX_FAULTS} faults"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(scenario: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_faults(scenario)
    assert message in str(caught.value)


ODD = st.none() | st.booleans() | st.integers(-1, 5) | st.floats() | st.sampled_from(["", "x", "ABORTED"]) | st.just([])
FIELDS = ("stream", "every", "times", "probability", "at_s", "for_s", "delay_s", "code", "message", "final")


@settings(max_examples=200)
@given(st.sampled_from(list(Kind)), st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4))
def test_whatever_a_fault_holds_it_is_taken_or_refused(kind: Kind, entry: dict[str, Any]) -> None:
    try:
        faults = parse_faults({**entry, "fault": kind.value})
    except ValueError:
        return
    plan = FaultPlan(faults)
    for stream in range(1, 5):
        assert [fault for fault in plan.choose(stream) if fault not in faults] == []


def chosen(plan: FaultPlan, streams: int) -> list[int]:
    return [stream for stream in range(1, streams + 1) if plan.choose(stream)]


@pytest.mark.parametrize(
    ("choice", "streams"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"stream": 3}, [3]),
        ({"every": 2}, [2, 4, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"probability": 0.0}, []),
        ({"probability": 1.0}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_which_streams_a_fault_meets(choice: dict[str, Any], streams: list[int]) -> None:
    assert chosen(FaultPlan(parse_faults({**STATUS, **choice})), 6) == streams


def test_two_equal_faults_count_by_themselves() -> None:
    plan = FaultPlan(parse_faults([{**STATUS, "times": 1}] * 2))
    assert len(plan.choose(1)) == 2
    assert plan.choose(2) == []


def test_faults_that_come_later_count_from_there() -> None:
    plan = FaultPlan()
    plan.add(parse_faults({**STATUS, "stream": 2}), after_stream=10)
    assert [stream for stream in range(10, 15) if plan.choose(stream)] == [12]
    plan.clear()
    assert plan.armed == []


def test_chance_is_the_seed_and_the_number() -> None:
    faults = parse_faults({**STATUS, "probability": 0.3})
    first = chosen(FaultPlan(faults, seed=5), 200)
    assert 30 <= len(first) <= 90
    assert chosen(FaultPlan(faults, seed=5), 200) == first
    assert chosen(FaultPlan(faults, seed=6), 200) != first


def test_a_plan_has_an_end() -> None:
    plan = FaultPlan(parse_faults([STATUS] * MAX_FAULTS))
    with pytest.raises(ValueError, match="at most"):
        plan.add(parse_faults(STATUS), after_stream=0)


def test_what_is_armed_is_shown_as_it_was_written() -> None:
    scenario = [
        {"fault": "status", "code": "ABORTED", "message": "m", "at_s": 2.5},
        {"fault": "refuse_connections", "for_s": 3},
    ]
    plan = FaultPlan(parse_faults(scenario))
    assert plan.armed == scenario
    assert [fault.fault for fault in plan.of_server()] == [Kind.REFUSE_CONNECTIONS]
    assert plan.choose(1)[0].code == Code.ABORTED.name
    assert len(plan.choose(2)) == 1


def test_faults_of_a_stream_happen_once_where_they_belong() -> None:
    faults = StreamFaults(parse_faults([{**STATUS, "at_s": 2}, {"fault": "stall"}, {"fault": "no_final", "final": 2}]))
    assert [fault.fault for fault in faults.due(0.0)] == [Kind.STALL]
    assert faults.due(1.99) == []
    assert [fault.fault for fault in faults.due(2.0)] == [Kind.STATUS]
    assert faults.due(3.0) == []
    assert [faults.swallows_final(number) for number in (1, 2, 3)] == [False, True, False]
    assert faults.take_fired() == [Kind.NO_FINAL]
    assert faults.take_fired() == []
