"""How a session for threaded code is made: what it is given, and what making it keeps waiting."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import google.auth
import google.auth.exceptions
import pytest

from fastcall import (
    GoogleRecognizer,
    SessionFailed,
    Settings,
    StreamingSTTSession,
    UsageError,
    UtteranceDispatcher,
    threaded,
)
from fastcall.audio.tones import synthesize
from fastcall.ports import StreamConfig, StreamEnd
from peers import PATIENCE_S, ScriptedFallback, ScriptedRecognizer, ScriptedStream, way

WORDS = "[200] apple arrow autumn [900]"


def settings_for(address: str | None, **settings: Any) -> Settings:
    return Settings(speech_emulator_host=address, **{"language": "en-US", **way(), **settings})


class SlowCredentials:
    """In the place of ``google.auth.default``: as slow as a metadata server that is not there."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, **options: object) -> Any:
        self.asked.set()
        self.go_on.wait(PATIENCE_S)
        raise google.auth.exceptions.DefaultCredentialsError("nobody is there")


@pytest.fixture
def slow_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowCredentials]:
    slow = SlowCredentials()
    monkeypatch.setattr(google.auth, "default", slow)
    yield slow
    slow.go_on.set()


def test_a_session_that_is_slow_to_make_keeps_no_other_waiting(
    prompt_emulator: str, slow_credentials: SlowCredentials
) -> None:
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    finals: queue.SimpleQueue[str] = queue.SimpleQueue()

    def make() -> None:
        try:
            StreamingSTTSession(settings=settings_for(None))
        except UsageError as error:
            errors.put(error)

    with StreamingSTTSession(on_final=finals.put, settings=settings_for(prompt_emulator)) as session:
        maker = threading.Thread(target=make)
        maker.start()
        assert slow_credentials.asked.wait(PATIENCE_S)
        session.push_audio(synthesize(WORDS))
        assert finals.get(timeout=PATIENCE_S) == "apple arrow autumn"
        slow_credentials.go_on.set()
        assert "no usable Google credentials (nobody is there)" in str(errors.get(timeout=PATIENCE_S))
        maker.join(PATIENCE_S)
    with pytest.raises(UsageError, match="no usable Google credentials"):
        StreamingSTTSession(settings=settings_for(None))  # each attempt is one: it may have become better


async def test_on_an_event_loop_a_session_is_made_at_once_and_says_later_what_is_wrong(
    slow_credentials: SlowCredentials,
) -> None:
    failures: asyncio.Queue[SessionFailed] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    session = StreamingSTTSession(settings=settings_for(None))
    session.add_listener(
        lambda event: (
            loop.call_soon_threadsafe(failures.put_nowait, event) if isinstance(event, SessionFailed) else None
        )
    )
    assert await asyncio.to_thread(slow_credentials.asked.wait, PATIENCE_S)
    session.push_audio(synthesize(WORDS))
    assert session.failure is None
    slow_credentials.go_on.set()
    failure = await asyncio.wait_for(failures.get(), PATIENCE_S)
    assert "no usable Google credentials (nobody is there)" in failure.message
    assert not failure.retrying
    assert session.failure == failure
    await asyncio.to_thread(session.close)


async def test_what_is_said_before_the_recognizer_is_there_is_recognized(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, make = threading.Event(), GoogleRecognizer.create

    def make_slowly(version: str, **options: Any) -> GoogleRecognizer:
        go_on.wait(PATIENCE_S)
        return make(version, **options)

    monkeypatch.setattr(GoogleRecognizer, "create", make_slowly)
    # Another name of the same place: no session before this one has made a recognizer for it.
    settings = settings_for(prompt_emulator.replace("127.0.0.1", "localhost"))
    session = StreamingSTTSession(settings=settings)
    dispatcher = UtteranceDispatcher(session, commit_ms=30_000)
    dispatcher.begin()
    session.push_audio(synthesize(WORDS))
    pending = dispatcher.end(silence_ms=900)
    go_on.set()
    assert await asyncio.wait_for(pending, PATIENCE_S) == "apple arrow autumn"
    await asyncio.to_thread(session.close)


async def test_an_event_loop_does_not_wait_for_a_whisper_model(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = threading.Event()

    async def load(*arguments: object) -> Any:
        loading.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(threaded, "start_fallback", load)
    session = StreamingSTTSession(settings=settings_for(prompt_emulator, whisper_model="never-there"))
    assert await asyncio.to_thread(loading.wait, PATIENCE_S)
    await asyncio.to_thread(session.close)


def test_mulaw_is_taken_as_it_comes_from_the_telephone(prompt_emulator: str) -> None:
    finals: queue.SimpleQueue[str] = queue.SimpleQueue()
    audio = synthesize(WORDS, encoding="mulaw")
    settings = settings_for(prompt_emulator)
    with StreamingSTTSession(on_final=finals.put, settings=settings, encoding="mulaw") as session:
        session.push_audio(audio)
        assert session.call_samples == len(audio)
        assert finals.get(timeout=PATIENCE_S) == "apple arrow autumn"


def test_words_settings_and_the_environment_say_what_is_recognized(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UTTERANCE_COMMIT_MS", "450")
    monkeypatch.setenv("GCP_STT_MODEL", "default")
    settings = Settings(speech_emulator_host=prompt_emulator, language="he-IL", **way())
    with StreamingSTTSession(settings=settings, language="en-US") as session:
        found = session.settings
        assert (found.language, found.model, found.utterance_commit_ms) == ("en-US", "default", 450)


@pytest.mark.parametrize("given", [{"model": "chirp_3", "location": "eu"}, {"version": "v2"}, {"model": "telephony"}])
def test_a_model_of_version_2_is_asked_of_version_2(
    prompt_emulator: str, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    finals: queue.SimpleQueue[str] = queue.SimpleQueue()
    settings = settings_for(prompt_emulator, language="en-US")
    with StreamingSTTSession(on_final=finals.put, settings=settings, phrases=["apple"], **given) as session:
        session.push_audio(synthesize(WORDS))
        assert finals.get(timeout=PATIENCE_S) == "apple arrow autumn"
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"version": "v3"}, "version='v3': use v1 or v2"),
        ({"encoding": "opus"}, "encoding='opus': use linear16 or mulaw"),
        ({"phrases": "apple"}, "phrases='apple': pass a list of phrases, not one string"),
        (
            {"version": "v1", "location": "europe-west4", "settings": Settings(speech_emulator_host=None)},
            "GCP_STT_LOCATION=europe-west4: version 1 of the API has global, us and eu only; use one of them, or "
            "--stt google-v2",
        ),
        ({"language": 5}, "GCP_STT_LANGUAGE is 5: must be text or None"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        StreamingSTTSession(**{"settings": settings_for("127.0.0.1:1"), **given})
    assert str(caught.value) == sentence


def test_google_is_asked_with_what_the_session_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of Google's endpoints and with what, as far as that can be seen without Google."""
    asked: list[dict[str, Any]] = []

    def create(version: str, **options: Any) -> Any:
        asked.append({"version": version, **options})
        raise UsageError("seen")

    monkeypatch.setattr(GoogleRecognizer, "create", create)
    credentials = object()
    for given, version, location in (
        ({}, "v1", "global"),
        ({"location": "eu"}, "v1", "eu"),
        ({"location": "eu", "model": "chirp_3"}, "v2", "eu"),
        ({"location": "europe-west4"}, "v2", "europe-west4"),
        ({"location": "us", "version": "v2"}, "v2", "us"),
    ):
        with pytest.raises(UsageError, match="seen"):
            StreamingSTTSession(settings=Settings(), credentials=credentials, **given)
        last = asked[-1]
        assert (last["version"], last["location"]) == (version, location)
        assert last["credentials"] is credentials


def test_what_is_recognized_comes_from_the_settings_and_the_words_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: queue.SimpleQueue[StreamConfig] = queue.SimpleQueue()

    def refuse(stream: ScriptedStream) -> None:
        asked.put(stream.config)
        stream.end(StreamEnd("PERMISSION_DENIED"))

    recognizer = ScriptedRecognizer(refuse)
    monkeypatch.setattr(GoogleRecognizer, "create", lambda *_, **options: recognizer)
    settings = settings_for("of-scripts:1", phrases=("a",), alternative_language_codes=("de-DE",))
    given: dict[str, Any]
    for given, language, phrases in (({}, "en-US", ("a",)), ({"language": "he-IL", "phrases": ["b"]}, "he-IL", ("b",))):
        with StreamingSTTSession(settings=settings, **given):
            config = asked.get(timeout=PATIENCE_S)
            assert (config.language, config.phrases, config.alternative_languages) == (language, phrases, ("de-DE",))


def test_a_close_that_does_not_come_about_says_so() -> None:
    """A fallback of the user's that keeps the event loop."""
    go_on, asked = threading.Event(), threading.Event()

    async def keep_the_loop(pcm: bytes, language: str) -> str:
        asked.set()
        go_on.wait(PATIENCE_S)
        return ""

    settings = Settings(enable_streaming_stt=False, language="en-US")
    session = StreamingSTTSession(settings=settings, fallback=keep_the_loop)
    try:
        session.note_utterance(True, 0)
        session.push_audio(bytes(16000))
        session.note_utterance(False, 8000)
        assert asked.wait(PATIENCE_S)
        with pytest.raises(TimeoutError, match="the session did not close within 2 s"):
            session.close()
    finally:
        go_on.set()


class OwnCredentials:
    """As much of google-auth's credentials as is asked of some that have a token."""

    token = "token"
    expiry = None

    def apply(self, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self.token}"


def test_a_recognizer_by_credentials_of_their_own_goes_with_the_last_session_that_has_it(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: queue.SimpleQueue[int] = queue.SimpleQueue()
    made: list[GoogleRecognizer] = []
    make = GoogleRecognizer.create

    def make_one(version: str, **options: Any) -> Any:
        recognizer: Any = make(version, **options)
        number, aclose = len(made), recognizer.aclose
        made.append(recognizer)

        async def aclose_and_tell() -> None:
            await aclose()
            gone.put(number)

        recognizer.aclose = aclose_and_tell
        return recognizer

    monkeypatch.setattr(GoogleRecognizer, "create", make_one)
    mine, others = OwnCredentials(), OwnCredentials()
    settings = settings_for(prompt_emulator, google_cloud_project="of-its-own")
    first, second = (StreamingSTTSession(settings=settings, credentials=mine) for _ in range(2))
    third = StreamingSTTSession(settings=settings, credentials=others)
    assert len(made) == 2
    first.close()
    third.close()
    assert gone.get(timeout=PATIENCE_S) == 1
    second.close()
    assert gone.get(timeout=PATIENCE_S) == 0
    with StreamingSTTSession(settings=settings), StreamingSTTSession(settings=settings):
        assert len(made) == 3
    with StreamingSTTSession(settings=settings):
        assert len(made) == 3, "what the process has for all is kept"
    assert gone.empty()


def test_one_whisper_model_hears_the_api_versions_of_a_language(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    async def load(settings: Settings, own: None, language: str) -> ScriptedFallback:
        loaded.append(language)
        return ScriptedFallback()

    monkeypatch.setattr(threaded, "start_fallback", load)
    settings = settings_for(prompt_emulator, whisper_model="of-dialects")
    for language in ("en-US", "en-GB", "he-IL", "iw", "en-AU"):
        StreamingSTTSession(settings=settings, language=language).close()
    assert loaded == ["en-US", "he-IL"]
