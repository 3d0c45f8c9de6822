"""Whether words were recognized, from the transcript stream."""

from __future__ import annotations

import pytest

from fastcall.simulator import CallReport, HeardWords
from fastcall.simulator.twilio_client import CallIds

IDS = CallIds.derive("heard", 0)


def judged(*records: tuple[str, str | None], words_were_said: bool = False) -> CallReport:
    heard = HeardWords([IDS.call_sid])
    for event, text in records:
        heard.take({"event": event, "call_sid": IDS.call_sid, "text": text})
        heard.take({"event": "final", "call_sid": "CA of another", "text": "words"})
    report = CallReport(IDS)
    heard.wait_for_ends([], 0.0)
    heard.judge(report, words_were_said=words_were_said)
    return report


SPOKE, ENDED = ("utterance_begin", None), ("call_ended", None)


@pytest.mark.parametrize("event", ["partial", "final", "utterance_end", "amended"])
def test_words(event: str) -> None:
    report = judged(SPOKE, (event, "hello"))
    assert (report.recognized, report.ok) == (True, True)


def test_no_words_where_somebody_spoke() -> None:
    report = judged(SPOKE, ("utterance_end", ""), ENDED)
    assert (report.recognized, report.ok) == (False, False)
    assert judged(ENDED, words_were_said=True).recognized is False
    assert "(NOT_FOUND: gone)" in (judged(SPOKE, ("session_failed", "NOT_FOUND: gone"), ENDED).error or "")


def test_what_is_not_known_is_no_failure() -> None:
    """Silence, and a call whose end was not told of."""
    for report in (judged(ENDED), judged(SPOKE), judged()):
        assert (report.recognized, report.ok) == (None, True)
