"""Lines about a call say which, in the text and in the record."""

from __future__ import annotations

import logging

import pytest

from fastcall.call_logger import CallLogger

LOG = logging.getLogger("fastcall.test.call_logger")


def test_a_line_ends_with_the_call(caplog: pytest.LogCaptureFixture) -> None:
    log = CallLogger(LOG, "call=CA%s1", {"call": "CA%s1"})
    log.warning("no answer: %s", "50 %")
    log.error("failed", exc_info=ValueError("why"))
    assert [record.getMessage() for record in caplog.records] == ["no answer: 50 % call=CA%s1", "failed call=CA%s1"]
    assert [vars(record)["call"] for record in caplog.records] == ["CA%s1"] * 2
    assert {record.filename for record in caplog.records} == {"test_call_logger.py"}
    assert caplog.records[1].exc_info is not None


def test_without_a_call_lines_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    CallLogger(LOG).warning("100 %")
    assert [record.getMessage() for record in caplog.records] == ["100 %"]
    assert not hasattr(caplog.records[0], "call")
