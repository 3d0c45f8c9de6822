"""Decodes requests and encodes responses, one codec per version, with the types that Google publishes.

Uses protobuf's classes directly, without proto-plus' wrappers.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, Final

from google.cloud.speech_v1.types import cloud_speech as speech_v1
from google.cloud.speech_v1p1beta1.types import cloud_speech as speech_v1p1beta1
from google.cloud.speech_v2.types import cloud_speech as speech_v2
from google.protobuf.message import DecodeError

from fastcall.emulator.messages import (
    AudioRequest,
    ConfigRequest,
    EmptyRequest,
    MalformedRequest,
    Request,
    Response,
    Result,
    StreamConfig,
)

__all__ = ["Codec", "codec_for"]

_RECOGNIZER: Final = re.compile(r"projects/[^/]+/locations/([^/]+)/recognizers/[^/]+")


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _set_seconds(duration: Any, seconds: float) -> None:
    duration.FromNanoseconds(round(seconds * 1e9))
    # A duration of 0 must still be present, as Google sends it.
    duration.SetInParent()


class Codec(ABC):
    """The wire form of one version. Stateless after construction."""

    audio_field: str
    end_field: str
    word_fields: tuple[str, str]

    def __init__(self, types: Any, encodings: Any) -> None:
        self._request = types.StreamingRecognizeRequest.pb()
        self._response = types.StreamingRecognizeResponse.pb()
        self._encodings: dict[int, str] = {each.value: each.name for each in encodings if each.value}

    def decode(self, data: bytes) -> Request:
        """Never raises: malformed data becomes a MalformedRequest."""
        try:
            message = self._request.FromString(data)
        except DecodeError:
            return MalformedRequest()
        kind = message.WhichOneof("streaming_request")
        if kind == self.audio_field:
            return AudioRequest(getattr(message, self.audio_field))
        return ConfigRequest(self._config(message)) if kind else EmptyRequest()

    def encode(self, response: Response, config: StreamConfig, request_id: int) -> bytes:
        message = self._response()
        for result in response.results:
            self._add_result(message.results.add(), result, config)
        self._finish(message, response, request_id)
        data: bytes = message.SerializeToString()
        return data

    def _add_result(self, target: Any, result: Result, config: StreamConfig) -> None:
        alternative = target.alternatives.add(transcript=result.transcript)
        if result.confidence:
            alternative.confidence = result.confidence
        start_field, end_field = self.word_fields
        for word in result.words:
            info = alternative.words.add(word=word.text)
            if config.word_times:
                _set_seconds(getattr(info, start_field), word.start_s)
                _set_seconds(getattr(info, end_field), word.end_s)
            if config.word_confidence:
                info.confidence = result.confidence
        target.is_final = result.is_final
        if result.stability:
            target.stability = result.stability
        _set_seconds(getattr(target, self.end_field), result.end_s)
        # Google responds with the lower-case form of the requested language.
        target.language_code = config.languages[0].lower()

    @abstractmethod
    def _config(self, message: Any) -> StreamConfig: ...

    @abstractmethod
    def _finish(self, message: Any, response: Response, request_id: int) -> None: ...


class _CodecV1(Codec):
    audio_field = "audio_content"
    end_field = "result_end_time"
    word_fields = ("start_time", "end_time")

    def _config(self, message: Any) -> StreamConfig:
        streaming = message.streaming_config
        config = streaming.config
        timeout = streaming.voice_activity_timeout
        phrases = [phrase for context in config.speech_contexts for phrase in context.phrases]
        sets = config.adaptation.phrase_sets
        if sets:  # adaptation supersedes speech contexts
            phrases = [phrase.value for phrase_set in sets for phrase in phrase_set.phrases]
        return StreamConfig(
            encoding=self._encodings.get(config.encoding, ""),
            sample_rate_hertz=config.sample_rate_hertz,
            channels=config.audio_channel_count or 1,
            languages=(config.language_code,),
            model=config.model,
            interim_results=streaming.interim_results,
            single_utterance=streaming.single_utterance,
            voice_activity_events=streaming.enable_voice_activity_events,
            speech_start_timeout_s=_seconds(timeout.speech_start_timeout),
            speech_end_timeout_s=_seconds(timeout.speech_end_timeout),
            word_times=config.enable_word_time_offsets,
            word_confidence=config.enable_word_confidence,
            phrases=tuple(phrases),
        )

    def _finish(self, message: Any, response: Response, request_id: int) -> None:
        message.request_id = request_id
        if response.event is not None:
            message.speech_event_type = response.event
            _set_seconds(message.speech_event_time, response.event_s)
        if response.billed_s is not None:
            _set_seconds(message.total_billed_time, response.billed_s)


class _CodecV2(Codec):
    audio_field = "audio"
    end_field = "result_end_offset"
    word_fields = ("start_offset", "end_offset")

    def _config(self, message: Any) -> StreamConfig:
        streaming = message.streaming_config
        config, features = streaming.config, streaming.streaming_features
        decoding = config.explicit_decoding_config
        timeout = features.voice_activity_timeout
        path = _RECOGNIZER.fullmatch(message.recognizer)
        phrases = [
            phrase.value
            for phrase_set in config.adaptation.phrase_sets
            for phrase in phrase_set.inline_phrase_set.phrases
        ]
        return StreamConfig(
            encoding=self._encodings.get(decoding.encoding, ""),
            sample_rate_hertz=decoding.sample_rate_hertz,
            channels=decoding.audio_channel_count,
            languages=tuple(config.language_codes),
            model=config.model,
            location=path[1] if path else "",
            recognizer_valid=path is not None,
            interim_results=features.interim_results,
            voice_activity_events=features.enable_voice_activity_events,
            speech_start_timeout_s=_seconds(timeout.speech_start_timeout),
            speech_end_timeout_s=_seconds(timeout.speech_end_timeout),
            word_times=config.features.enable_word_time_offsets,
            word_confidence=config.features.enable_word_confidence,
            phrases=tuple(phrases),
        )

    def _finish(self, message: Any, response: Response, request_id: int) -> None:
        message.metadata.request_id = f"{request_id:016x}"
        if response.event is not None:
            message.speech_event_type = response.event
            _set_seconds(message.speech_event_offset, response.event_s)
        if response.billed_s is not None:
            _set_seconds(message.metadata.total_billed_duration, response.billed_s)


@lru_cache(maxsize=8)
def codec_for(version: str) -> Codec:
    """The codec of `v1`, `v1p1beta1` or `v2`."""
    if version == "v2":
        return _CodecV2(speech_v2, speech_v2.ExplicitDecodingConfig.AudioEncoding)
    types = speech_v1 if version == "v1" else speech_v1p1beta1
    return _CodecV1(types, types.RecognitionConfig.AudioEncoding)
