"""Which streams are the same one of a call."""

from __future__ import annotations

import json

import pytest

from fastcall.events import CallStarted
from fastcall.twilio.stream_key import STREAM, StreamKey


def key(*tracks: str, **parameters: str) -> StreamKey:
    return StreamKey.of(CallStarted("MZ1", "CA1", "AC", tracks, parameters))


def test_a_stream_is_known_by_call_tracks_and_name_and_by_nothing_else() -> None:
    plain = key("inbound")
    assert plain == StreamKey("CA1") == key("inbound", tenant="acme")
    others = [
        key("inbound", "outbound"),
        key("inbound", **{STREAM: "monitor"}),
        key("inbound", "outbound", **{STREAM: "monitor"}),
        StreamKey("CA2"),
    ]
    assert len({plain, *others}) == 5


@pytest.mark.parametrize(
    "tracks",
    [("inbound", "outbound"), ("outbound", "inbound"), ("both",), ("both", "inbound"), ("inbound", "outbound") * 2],
)
def test_the_tracks_are_a_set_however_they_are_spelt(tracks: tuple[str, ...]) -> None:
    assert key(*tracks).tracks == ("inbound", "outbound")


def test_a_key_goes_to_another_process_and_is_the_same_there() -> None:
    for each in (StreamKey("CA1"), key("both", **{STREAM: 'mon"itor\n\ud800'})):
        assert StreamKey.of_words(json.loads(json.dumps(each.words()))) == each
