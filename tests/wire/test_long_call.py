"""A call of over 100 s keeps one session. It is placed when the tests begin and judged last; see ``conftest.py``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from long_call import IDS, SENTENCES, SPEECH_S

from conftest import LongCall


def test_a_call_of_over_100_s_keeps_one_session(long_call: LongCall) -> None:
    assert SPEECH_S > 100
    status, output = long_call.result()
    assert status == 0, output
    records = [json.loads(line) for line in Path(long_call.transcripts).read_text(encoding="utf-8").splitlines()]
    assert {record["call_sid"] for record in records} == {IDS.call_sid}
    counts = Counter(record["event"] for record in records)
    for once in ("call_started", "session_started", "session_closed", "call_ended"):
        assert counts[once] == 1
    assert counts["session_failed"] == counts["session_rotated"] == 0
    assert counts["utterance_begin"] == counts["utterance_end"] == len(SENTENCES)
    texts: dict[int, str] = {}
    for record in records:
        if record["event"] in ("utterance_end", "amended"):
            texts[record["utterance_id"]] = record["text"]
    assert list(texts.values()) == SENTENCES
    last = next(record for record in reversed(records) if record["event"] == "utterance_end")
    assert last["end_ms"] > 100_000
