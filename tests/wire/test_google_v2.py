"""Version 2 of the API: the same session, against the emulator's v2."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from google.cloud import speech_v2

from fastcall import mulaw_decode_fast
from fastcall.errors import UsageError
from fastcall.google.api_versions import Version2
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import StreamConfig
from listeners import KeepingListener
from peers import Phone, both_uplinks, google_recognizer, serving, start_emulator, tones


def first_request(config: StreamConfig, **options: str) -> speech_v2.StreamingRecognizeRequest:
    data = Version2(**{"project": "p-1", **options}).config_request(config)
    return speech_v2.StreamingRecognizeRequest.deserialize(data)


def test_the_first_request_names_the_recognizer_and_the_telephones_audio() -> None:
    request = first_request(
        StreamConfig("en-US", "telephony", phrases=("yes", "no")), location="eu", sensitivity="supershort"
    )
    assert request.recognizer == "projects/p-1/locations/eu/recognizers/_"
    streaming = request.streaming_config
    assert streaming.streaming_features.interim_results
    assert streaming.streaming_features.endpointing_sensitivity.name == "ENDPOINTING_SENSITIVITY_SUPERSHORT"
    config = streaming.config
    decoding = config.explicit_decoding_config
    assert (decoding.encoding.name, decoding.sample_rate_hertz, decoding.audio_channel_count) == ("LINEAR16", 8000, 1)
    assert (config.model, list(config.language_codes)) == ("telephony", ["en-US"])
    assert config.features.enable_word_time_offsets
    (phrases,) = config.adaptation.phrase_sets
    assert [phrase.value for phrase in phrases.inline_phrase_set.phrases] == ["yes", "no"]


def test_alternative_languages_follow_the_first_and_many_phrases_make_several_sets() -> None:
    many = tuple(f"word {number}" for number in range(2401))
    config = StreamConfig("he-IL", "chirp_3", phrases=many, alternative_languages=("en-US", "he"))
    asked = first_request(config).streaming_config.config
    assert list(asked.language_codes) == ["iw-IL", "en-US", "iw-IL"]
    sets = [[phrase.value for phrase in each.inline_phrase_set.phrases] for each in asked.adaptation.phrase_sets]
    assert [len(each) for each in sets] == [1200, 1200, 1]
    assert [phrase for each in sets for phrase in each] == list(many)


@pytest.mark.parametrize(
    ("language", "model", "code", "name", "has_times"),
    [
        ("en-US", "phone_call", "en-US", "telephony", True),
        ("he-IL", "default", "iw-IL", "long", True),
        ("he-IL", "chirp_3", "iw-IL", "chirp_3", False),
    ],
)
def test_names_of_version_1_are_translated(language: str, model: str, code: str, name: str, has_times: bool) -> None:
    config = first_request(StreamConfig(language, model)).streaming_config.config
    assert (list(config.language_codes), config.model) == ([code], name)
    assert config.features.enable_word_time_offsets is has_times


@pytest.mark.parametrize("location", ["", "evil.example/", "a b", "x.y", "h:1"])
def test_a_location_that_is_none_is_named(location: str) -> None:
    with pytest.raises(UsageError, match="GCP_STT_LOCATION"):
        Version2(project="p", location=location)


def test_without_a_project_it_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "t"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key))
    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(UsageError, match="set GOOGLE_CLOUD_PROJECT"):
        GoogleRecognizer.create("v2")


@both_uplinks
async def test_words_have_times_in_samples_of_the_stream(prompt_emulator: str) -> None:
    pcm = mulaw_decode_fast(tones("[1000] apple [200] arrow [300]"))
    listener = KeepingListener()
    recognizer = google_recognizer(prompt_emulator, api_version=Version2(project="emulator"))
    try:
        stream = recognizer.open(StreamConfig("en-US", "default"), listener)
        for at in range(0, len(pcm), 3200):
            stream.write(pcm[at : at + 3200])
        stream.half_close()
        assert (await listener.wait_over()).code == "OK"
    finally:
        await recognizer.aclose()
    final = next(result for result in listener.results if result.is_final)
    assert (final.text, [word.text for word in final.words]) == ("apple arrow", ["apple", "arrow"])
    assert [word.start_sample for word in final.words] == pytest.approx([8000, 11_200], abs=200)


async def test_at_the_limit_of_a_stream_the_next_goes_on_and_no_word_is_lost() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", "--stream-limit-s", "3")
    said = ["apple arrow autumn", "badge bamboo", "basket beacon", "blanket bottle"]
    try:
        async with serving(emulator.ready[1], stt="google-v2") as served, Phone(served.url, "limit") as phone:
            await phone.start()
            await phone.speak(tones("[300] " + " [900] ".join(said) + " [900]"))
            await served.hang_up(phone)
            rotations = served.transcripts.of(phone.call_sid, "session_rotated")
            assert "limit" in [record["text"] for record in rotations]
            assert served.transcripts.of(phone.call_sid, "session_failed") == []
            assert served.transcripts.utterances(phone.call_sid) == said
    finally:
        await asyncio.to_thread(emulator.stop)


async def test_a_stream_that_is_ended_for_idleness_is_replaced_without_alarm() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", "--idle-s", "1.5")
    try:
        async with serving(emulator.ready[1], stt="google-v2") as served, Phone(served.url, "idle") as phone:
            await phone.start()
            assert (await served.transcripts.wait_for(phone.call_sid, "session_rotated"))["text"] == "limit"
            await phone.speak(tones("[300] apple arrow [900]"))
            await served.hang_up(phone)
            assert served.transcripts.of(phone.call_sid, "session_failed") == []
            assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]
    finally:
        await asyncio.to_thread(emulator.stop)


async def test_a_model_that_the_language_does_not_have_is_replaced(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(prompt_emulator, stt="google-v2", language="he-IL") as served, Phone(served.url, "he") as phone:
        assert await served.take_call(phone, "[300] apple arrow [500]", at_pace=True) == ["apple arrow"]
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and "fastcall" in r.name]
    assert len(warnings) == 1
    assert warnings[0].startswith("model phone_call does not support language he-IL")
