"""How the two versions of the API differ: names, tags, the first request, the responses.

Audio requests are built as bytes (a protobuf tag, a length, the PCM), because a proto-plus object costs forty times as
much; responses are parsed by protobuf's own classes for the same reason.

Sources: https://cloud.google.com/speech-to-text/docs/reference/rpc/google.cloud.speech.v1p1beta1,
https://cloud.google.com/speech-to-text/v2/docs/reference/rpc/google.cloud.speech.v2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from google.cloud import speech_v1p1beta1 as speech

from fastcall.errors import UsageError
from fastcall.events import SAMPLE_RATE_HZ
from fastcall.google.endpoints import speech_endpoint
from fastcall.google.grpc_status import STATUS_NAMES
from fastcall.ports import StreamConfig, StreamEnd, StreamResult, StreamWord

__all__ = ["ApiVersion", "Version1", "Version2", "audio_prefix"]

_STATUS_NAMES = dict(enumerate(STATUS_NAMES))


class ApiVersion(Protocol):
    """One version of the API. Immutable; shared by all streams of a recognizer."""

    @property
    def method(self) -> str:
        """Path of StreamingRecognize."""

    @property
    def parse(self) -> Callable[[bytes], Any]:
        """Parses a response message."""

    @property
    def audio_tag(self) -> int:
        """The protobuf tag of a request's audio, its only field."""

    def config_request(self, config: StreamConfig) -> bytes:
        """The serialised first request of a stream."""

    def audio_request(self, pcm: bytes) -> bytes:
        """A serialised request that carries ``pcm`` (LINEAR16, under 2 MiB)."""

    def error(self, response: Any) -> StreamEnd | None:
        """The error that a response contains, if any."""

    def results(self, response: Any) -> list[StreamResult]:
        """The results of a response that have text."""


def audio_prefix(tag: int, length: int) -> bytes:
    """The prefix of a length-delimited field of ``length`` bytes (under 2 MiB): its tag, and the length as varint.

    :param tag: field number * 8 + 2
    """
    if length < 1 << 7:
        return bytes((tag, length))
    if length < 1 << 14:
        return bytes((tag, length & 0x7F | 0x80, length >> 7))
    return bytes((tag, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))


def _samples(duration: Any) -> int:
    return int(duration.seconds * SAMPLE_RATE_HZ + duration.nanos * SAMPLE_RATE_HZ // 1_000_000_000)


def _shown(word: str) -> str:
    """Version 1 may append the reading to a Japanese word: 今日|キョウ."""
    return word.partition("|")[0] or word


def _results(response: Any, end: str, word_start: str, word_end: str) -> list[StreamResult]:
    """The results that have text; the names are those of the fields for times."""
    found = []
    for result in response.results:
        alternatives = result.alternatives
        if alternatives:
            best = alternatives[0]
            words: tuple[StreamWord, ...] = ()
            if best.words:
                words = tuple(
                    StreamWord(
                        _shown(word.word), _samples(getattr(word, word_start)), _samples(getattr(word, word_end))
                    )
                    for word in best.words
                )
            found.append(StreamResult(best.transcript, result.is_final, _samples(getattr(result, end)), words))
    return found


class Version1:
    """v1p1beta1: v1 with word times, models and phrases in one request."""

    method = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"
    parse = staticmethod(speech.StreamingRecognizeResponse.pb().FromString)
    audio_tag = 0x12

    def config_request(self, config: StreamConfig) -> bytes:
        """The serialised first request of a stream."""
        recognition = speech.RecognitionConfig(
            encoding=speech.RecognitionConfig.AudioEncoding.LINEAR16,
            sample_rate_hertz=SAMPLE_RATE_HZ,
            audio_channel_count=1,
            language_code=config.language,
            model=config.model,
            enable_word_time_offsets=True,
            enable_automatic_punctuation=True,
        )
        if config.phrases:
            recognition.speech_contexts = [speech.SpeechContext(phrases=list(config.phrases))]
        if config.alternative_languages:
            recognition.alternative_language_codes = list(config.alternative_languages)
        request = speech.StreamingRecognizeRequest(
            streaming_config=speech.StreamingRecognitionConfig(config=recognition, interim_results=True)
        )
        return bytes(speech.StreamingRecognizeRequest.serialize(request))

    def audio_request(self, pcm: bytes) -> bytes:
        """``audio_content`` is field 2."""
        return audio_prefix(self.audio_tag, len(pcm)) + pcm

    def error(self, response: Any) -> StreamEnd | None:
        """A response may contain a status instead of results."""
        if response.HasField("error"):
            return StreamEnd(_STATUS_NAMES.get(response.error.code, "UNKNOWN"), response.error.message)
        return None

    def results(self, response: Any) -> list[StreamResult]:
        """Times are offsets from the start of the stream."""
        return _results(response, "result_end_time", "start_time", "end_time")


# v1's models that have another name in v2, so that settings and the default model work with both.
_MODELS = {"phone_call": "telephony", "default": "long", "command_and_search": "short"}
# Models without word times in streams; they may refuse requests for them.
_UNTIMED_MODELS = frozenset({"chirp", "chirp_3"})
# v2's limit for one set; a request may have several.
PHRASES_PER_SET = 1200
# v2's tables list Hebrew under its old code.
_LANGUAGES = {"he": "iw-IL", "he-il": "iw-IL"}


class Version2:
    """v2: a recognizer's path in the first request, a region's endpoint.

    :param project: the project's id
    :param location: ``global``, ``us``, ``eu`` or a region; models differ between them
    :param sensitivity: how soon an utterance is judged to be over: ``standard``, ``short`` or ``supershort``
    :raises UsageError: the project or the location is malformed
    """

    method = "/google.cloud.speech.v2.Speech/StreamingRecognize"
    audio_tag = 0x2A

    def __init__(self, *, project: str, location: str = "global", sensitivity: str | None = None) -> None:
        if not project.isascii() or not project.replace("-", "").replace(":", "").replace(".", "").isalnum():
            raise UsageError(f"GOOGLE_CLOUD_PROJECT={project!r}: use letters, digits and dashes")
        speech_endpoint("v2", location)  # raises for a malformed location
        from google.cloud import speech_v2

        self._types = speech_v2
        self._recognizer = f"projects/{project}/locations/{location}/recognizers/_"
        self._sensitivity = sensitivity
        self.parse = speech_v2.StreamingRecognizeResponse.pb().FromString

    def config_request(self, config: StreamConfig) -> bytes:
        """The serialised first request of a stream; names of v1's models are translated."""
        types = self._types
        model = _MODELS.get(config.model, config.model)
        recognition = types.RecognitionConfig(
            explicit_decoding_config=types.ExplicitDecodingConfig(
                encoding=types.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
                sample_rate_hertz=SAMPLE_RATE_HZ,
                audio_channel_count=1,
            ),
            model=model,
            language_codes=[
                _LANGUAGES.get(code.lower(), code) for code in (config.language, *config.alternative_languages)
            ],
            features=types.RecognitionFeatures(
                enable_word_time_offsets=model not in _UNTIMED_MODELS, enable_automatic_punctuation=True
            ),
        )
        if config.phrases:
            recognition.adaptation = types.SpeechAdaptation(
                phrase_sets=[
                    types.SpeechAdaptation.AdaptationPhraseSet(
                        inline_phrase_set=types.PhraseSet(
                            phrases=[types.PhraseSet.Phrase(value=phrase) for phrase in some]
                        )
                    )
                    for some in _cut(config.phrases, PHRASES_PER_SET)
                ]
            )
        features = types.StreamingRecognitionFeatures(interim_results=True)
        if self._sensitivity:
            names = types.StreamingRecognitionFeatures.EndpointingSensitivity
            features.endpointing_sensitivity = names[f"ENDPOINTING_SENSITIVITY_{self._sensitivity.upper()}"]
        request = types.StreamingRecognizeRequest(
            recognizer=self._recognizer,
            streaming_config=types.StreamingRecognitionConfig(config=recognition, streaming_features=features),
        )
        return bytes(types.StreamingRecognizeRequest.serialize(request))

    def audio_request(self, pcm: bytes) -> bytes:
        """``audio`` is field 5."""
        return audio_prefix(self.audio_tag, len(pcm)) + pcm

    def error(self, response: Any) -> StreamEnd | None:
        """v2's responses have no status."""
        return None

    def results(self, response: Any) -> list[StreamResult]:
        """Times are offsets from the start of the stream."""
        return _results(response, "result_end_offset", "start_offset", "end_offset")


def _cut(phrases: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    return [phrases[at : at + size] for at in range(0, len(phrases), size)]
