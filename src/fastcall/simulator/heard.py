"""Finds out from the transcript stream whether the server recognized words in each simulated call."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

from fastcall.simulator.report import CallReport

__all__ = ["HeardWords"]

_WITH_TEXT = frozenset({"partial", "final", "utterance_end", "amended"})


class HeardWords:
    """Keeps a few facts per call, however long it is. ``take`` may be called from another thread than the rest.

    :param call_sids: the calls to watch; records of others are ignored
    """

    def __init__(self, call_sids: Collection[str]) -> None:
        self._calls = frozenset(call_sids)
        self._spoke: set[str] = set()
        self._words: set[str] = set()
        self._failures: dict[str, str] = {}
        self._ended: set[str] = set()
        self._news = threading.Condition()

    def take(self, record: Mapping[str, Any]) -> None:
        """One record of the transcript stream."""
        call, event, text = record.get("call_sid"), record["event"], record.get("text")
        if call not in self._calls:
            return
        with self._news:
            if event == "utterance_begin":
                self._spoke.add(call)
            elif event in _WITH_TEXT and text:
                self._words.add(call)
            elif event == "session_failed":
                self._failures[call] = str(text)
            elif event == "call_ended":
                self._ended.add(call)
                self._news.notify_all()

    def wait_for_ends(self, call_sids: Collection[str], timeout_s: float) -> None:
        """Return when the server has reported the end of these calls, or after ``timeout_s``."""
        wanted, until = set(call_sids), time.monotonic() + timeout_s
        with self._news:
            while wanted - self._ended and (left_s := until - time.monotonic()) > 0:
                self._news.wait(left_s)

    def judge(self, report: CallReport, *, words_were_said: bool) -> None:
        """Complete a call's report, if the server reported the whole call.

        :param words_were_said: whether there certainly was speech; else the server's voice detector decides
        """
        call = report.ids.call_sid
        if call in self._words:
            report.recognized = True
        elif call in self._ended and (words_were_said or call in self._spoke):
            report.recognized = False
            why = f" ({self._failures[call]})" if call in self._failures else ""
            report.error = report.error or f"words were spoken, but none was recognized{why}"
