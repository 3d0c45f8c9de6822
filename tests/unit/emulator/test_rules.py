"""The rules of one stream, told the time: order, limits, results, and how it ends."""

from __future__ import annotations

from random import Random

import pytest

from fastcall.emulator.api_versions import API_VERSIONS
from fastcall.emulator.engines.base import (
    Failed,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.messages import (
    AudioRequest,
    Code,
    ConfigRequest,
    EmptyRequest,
    EventType,
    MalformedRequest,
    StreamConfig,
    Word,
)
from fastcall.emulator.options import Options
from fastcall.emulator.rules import StreamRules

CONFIG = StreamConfig("LINEAR16", 8000, languages=("en-US",), model="default", interim_results=True)
SECOND = bytes(16000)
MALORDERED = "Malordered Data Received. Send exactly one config, followed by audio data."


def rules(version: str = "v1p1beta1", config: StreamConfig | None = CONFIG, **options: object) -> StreamRules:
    made = StreamRules(
        Options(**options),  # type: ignore[arg-type]
        API_VERSIONS[version],
        Random(1),
        rates_hertz=(8000, 16000),
        now=100.0,
    )
    if config is not None:
        made.receive(ConfigRequest(config), now=100.0)
    return made


def ended(stream: StreamRules) -> tuple[Code, str]:
    assert stream.status is not None
    return stream.status.code, stream.status.message


def feed(stream: StreamRules, seconds: int, begin: float = 100.0) -> float:
    now = begin
    for _ in range(10 * seconds):
        now += 0.1
        stream.receive(AudioRequest(SECOND[:1600]), now=now)
    return now


@pytest.mark.parametrize("request_", [AudioRequest(b"12"), EmptyRequest()])
def test_the_first_request_must_be_a_configuration(request_: AudioRequest | EmptyRequest) -> None:
    stream = rules(config=None)
    assert stream.receive(request_, now=100.0) is None
    assert ended(stream) == (Code.INVALID_ARGUMENT, MALORDERED)


def test_a_second_configuration_is_refused() -> None:
    stream = rules()
    stream.receive(ConfigRequest(CONFIG), now=100.1)
    assert ended(stream) == (Code.INVALID_ARGUMENT, MALORDERED)


def test_bytes_that_are_no_message_are_refused() -> None:
    stream = rules()
    stream.receive(MalformedRequest(), now=100.1)
    assert ended(stream)[0] is Code.INVALID_ARGUMENT


def test_half_close_before_a_configuration_is_refused() -> None:
    stream = rules(config=None)
    stream.half_close(now=100.0)
    assert ended(stream) == (Code.INVALID_ARGUMENT, MALORDERED)


@pytest.mark.parametrize(
    ("version", "code", "message"),
    [
        ("v1p1beta1", Code.OUT_OF_RANGE, "Exceeded maximum allowed stream duration of 305 seconds."),
        ("v1", Code.OUT_OF_RANGE, "Exceeded maximum allowed stream duration of 305 seconds."),
        ("v2", Code.ABORTED, "Max duration of 5 minutes reached for stream."),
    ],
)
def test_the_stream_limit_is_kept_by_the_clock(version: str, code: Code, message: str) -> None:
    config = CONFIG if version != "v2" else StreamConfig("LINEAR16", 8000, languages=("en-US",), location="global")
    stream = rules(version, config, idle_s=0.0)
    assert stream.next_deadline == 405.0
    stream.handle_deadline(now=404.99)
    assert stream.status is None
    stream.handle_deadline(now=405.0)
    assert ended(stream) == (code, message)


@pytest.mark.parametrize(
    ("version", "code", "message"),
    [
        (
            "v1p1beta1",
            Code.OUT_OF_RANGE,
            "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
        ),
        ("v2", Code.ABORTED, "Stream timed out after receiving no more client requests."),
    ],
)
def test_ten_seconds_without_audio_end_the_stream(version: str, code: Code, message: str) -> None:
    config = CONFIG if version != "v2" else StreamConfig("LINEAR16", 8000, languages=("en-US",), location="global")
    stream = rules(version, config)
    now = feed(stream, 2)
    stream.receive(AudioRequest(b""), now=now + 5)
    stream.handle_deadline(now=now + 9.99)
    assert stream.status is None
    stream.handle_deadline(now=now + 10)
    assert ended(stream) == (code, message)


def test_a_chunk_over_25600_bytes_is_refused_by_its_size() -> None:
    stream = rules()
    stream.receive(AudioRequest(bytes(25_600)), now=101.0)
    assert stream.status is None
    stream.receive(AudioRequest(bytes(25_602)), now=102.0)
    assert ended(stream) == (
        Code.INVALID_ARGUMENT,
        "Audio chunk can be of a maximum of 25600 bytes. Received audio of 25602 bytes instead.",
    )


def test_audio_much_faster_than_real_time_is_refused() -> None:
    stream = rules(max_burst_s=2.0)
    for number in range(12):
        stream.receive(AudioRequest(SECOND), now=100.0 + 0.25 * number)
        assert stream.status is None
    for _ in range(20):
        stream.receive(AudioRequest(SECOND), now=103.0)
    assert ended(stream) == (
        Code.OUT_OF_RANGE,
        "Audio data is being streamed too fast. Please stream audio data approximately at real time.",
    )


@pytest.mark.parametrize(
    ("model", "language", "message"),
    [
        (
            "phone_call",
            "he-IL",
            "Invalid recognition 'config': The phone_call model is currently not supported for language : iw-IL.",
        ),
        (
            "latest_short",
            "he-IL",
            "Invalid recognition 'config': The requested model is currently not supported for language : iw-IL.",
        ),
    ],
)
def test_a_model_without_the_language_is_refused(model: str, language: str, message: str) -> None:
    stream = rules(config=StreamConfig("LINEAR16", 8000, languages=(language,), model=model))
    assert ended(stream) == (Code.INVALID_ARGUMENT, message)


def test_every_language_has_the_default_model() -> None:
    assert rules(config=StreamConfig("LINEAR16", 8000, languages=("he-IL",), model="default")).status is None


def word(text: str, start: float) -> Word:
    return Word(text, start, start + 0.2)


def test_interims_are_a_stable_part_and_an_unstable_one() -> None:
    stream = rules()
    now = feed(stream, 1)
    words = tuple(word(text, 0.2 * i) for i, text in enumerate(("one", "two", "three", "four")))
    stream.on_engine_event(Heard(words[:2]), now=now)
    stream.take()
    stream.on_engine_event(Heard(words), now=now)
    (response,) = stream.take()
    assert "".join(result.transcript for result in response.results) == "one two three four"
    assert [result.stability for result in response.results] == [0.9, 0.01]
    assert not any(result.is_final for result in response.results)
    assert stream.take() == []  # nothing new, nothing said


def test_without_interim_results_only_finals_come() -> None:
    stream = rules(config=StreamConfig("LINEAR16", 8000, languages=("en-US",), model="default", word_times=True))
    now = feed(stream, 2)
    stream.on_engine_event(Heard((word("one", 0.5),)), now=now)
    assert stream.take() == []
    stream.on_engine_event(UtteranceEnded((word("one", 0.5),), 0.7, 1.3), now=now)
    stream.handle_deadline(now=now)
    (response,) = stream.take()
    (final,) = response.results
    assert (final.transcript, final.is_final, final.end_s) == ("one", True, pytest.approx(1.3, abs=0.7))
    assert [w.text for w in final.words] == ["one"]


def test_a_final_is_late_by_its_delay_from_the_end_of_speech() -> None:
    stream = rules(final_delay_s=0.9)
    now = feed(stream, 2)
    stream.on_engine_event(UtteranceEnded((word("one", 1.0),), 1.2, 1.8), now=now)
    stream.take()
    due = stream.next_deadline
    assert due == pytest.approx(now - 0.8 + 0.9)
    stream.handle_deadline(now=due - 0.001)
    assert not any(result.is_final for response in stream.take() for result in response.results)
    stream.handle_deadline(now=due)
    assert [result.transcript for response in stream.take() for result in response.results] == ["one"]


def test_half_close_flushes_what_waits_then_ends_well_with_the_billed_time() -> None:
    stream = rules(final_delay_s=5.0)
    now = feed(stream, 2)
    stream.on_engine_event(UtteranceEnded((word("one", 1.0),), 1.2, 1.8), now=now)
    stream.take()
    stream.half_close(now=now)
    assert stream.status is None  # the engine still has the word
    stream.on_engine_event(Finished(), now=now)
    responses = stream.take()
    assert [result.transcript for response in responses for result in response.results] == ["one"]
    assert responses[-1].billed_s == 2.0
    assert ended(stream) == (Code.OK, "")


def test_nothing_is_taken_after_the_end() -> None:
    stream = rules()
    stream.on_engine_event(Failed("the engine broke"), now=101.0)
    assert ended(stream) == (Code.INTERNAL, "the engine broke")
    assert stream.receive(AudioRequest(SECOND), now=101.0) is None
    stream.on_engine_event(Heard((word("one", 0.0),)), now=101.0)
    assert stream.take() == []
    assert stream.next_deadline is None


def test_single_utterance_tells_its_end_and_is_deaf_after_it() -> None:
    config = StreamConfig("LINEAR16", 8000, languages=("en-US",), interim_results=True, single_utterance=True)
    stream = rules(config=config)
    now = feed(stream, 2)
    stream.on_engine_event(SpeechEnded(1.0), now=now)
    assert [response.event for response in stream.take()] == [EventType.END_OF_SINGLE_UTTERANCE]
    assert stream.receive(AudioRequest(SECOND), now=now) is None
    stream.on_engine_event(UtteranceEnded((word("one", 0.5),), 1.0, 1.6), now=now)
    stream.handle_deadline(now=now)
    assert [result.transcript for response in stream.take() for result in response.results] == ["one"]
    assert stream.status is None  # the client may half-close first
    assert stream.next_deadline == now + 0.5
    stream.handle_deadline(now=now + 0.5)
    assert ended(stream)[0] is Code.OK


def test_a_single_utterance_waits_for_its_words_but_not_for_ever() -> None:
    config = StreamConfig("LINEAR16", 8000, languages=("en-US",), single_utterance=True)
    stream = rules(config=config, idle_s=0.0)
    now = feed(stream, 2)
    stream.on_engine_event(SpeechEnded(1.0), now=now)
    stream.handle_deadline(now=now + 4.99)  # the engine is slow
    assert stream.status is None
    stream.handle_deadline(now=now + 5.0)
    assert ended(stream)[0] is Code.OK


def test_speech_events_come_where_they_were_asked_for() -> None:
    config = StreamConfig("LINEAR16", 8000, languages=("en-US",), voice_activity_events=True)
    stream = rules(config=config)
    now = feed(stream, 2)
    stream.on_engine_event(SpeechBegan(0.5), now=now)
    stream.on_engine_event(SpeechEnded(1.0), now=now)
    events = [(response.event, response.event_s) for response in stream.take()]
    assert events == [(EventType.SPEECH_ACTIVITY_BEGIN, 0.5), (EventType.SPEECH_ACTIVITY_END, 1.0)]
    silent = rules()
    silent.on_engine_event(SpeechBegan(0.5), now=now)
    assert silent.take() == []


def test_rewritten_interims_are_put_right() -> None:
    stream = rules(rewrite_rate=1.0)
    shown = []
    now = 100.0
    for count in range(1, 6):
        now = feed(stream, 1, now)
        words = tuple(word(text, 0.2 * i) for i, text in enumerate(("one", "two", "three", "four", "five")[:count]))
        stream.on_engine_event(Heard(words), now=now)
        shown += ["".join(result.transcript for result in response.results) for response in stream.take()]
    feed(stream, 1, now)
    shown += ["".join(result.transcript for result in response.results) for response in stream.take()]
    assert shown[-1] == "one two three four five"
    assert any(not "one two three four five".startswith(text) or text < previous
               for previous, text in zip(["", *shown], shown, strict=False))  # fmt: skip
