"""How the versions of the API differ in what they refuse, and in their error messages.

Messages marked "seen" were reported verbatim by clients of Google's service; the others imitate their form,
because no report of them was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastcall.emulator.catalog import (
    V1_LIMITED_MODELS,
    V1_MODELS,
    V2_MODELS,
    canonical_language,
    covers,
)
from fastcall.emulator.messages import Code, EventType, Status, StreamConfig

__all__ = ["API_VERSIONS", "ApiVersion", "Version1", "Version2"]


def _invalid(message: str) -> Status:
    return Status(Code.INVALID_ARGUMENT, message)


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """One version's statuses. Pure."""

    version: str

    @property
    def service(self) -> str:
        return f"google.cloud.speech.{self.version}.Speech"

    @property
    def activity_timeout_event(self) -> EventType | None:
        """The event sent to the client when its voice activity timeout has passed."""
        return EventType.SPEECH_ACTIVITY_TIMEOUT

    def stream_limit(self, limit_s: float) -> Status:
        raise NotImplementedError

    def idle(self) -> Status:
        raise NotImplementedError

    def too_fast(self) -> Status:
        return Status(  # seen (v1)
            Code.OUT_OF_RANGE,
            "Audio data is being streamed too fast. Please stream audio data approximately at real time.",
        )

    def malordered(self) -> Status:
        return _invalid(  # seen
            "Malordered Data Received. Send exactly one config, followed by audio data."
        )

    def chunk_too_large(self, size_bytes: int, limit_bytes: int) -> Status:
        return _invalid(  # seen (v2)
            f"Audio chunk can be of a maximum of {limit_bytes} bytes. Received audio of {size_bytes} bytes instead."
        )

    def malformed(self) -> Status:
        return _invalid("Request contains an invalid argument.")

    def quota(self, limit: str, metric: str = "speech.googleapis.com/default_requests") -> Status:
        return Status(  # seen, for DefaultRequestsPerMinutePerProject
            Code.RESOURCE_EXHAUSTED,
            f"Quota exceeded for quota metric '{metric}' and limit '{limit}' of service "
            "'speech.googleapis.com' for consumer 'project_number:0'.",
        )

    def requests_per_minute(self) -> Status:
        return self.quota("DefaultRequestsPerMinutePerProject")

    def concurrent_streams(self) -> Status:
        return self.quota(
            "ConcurrentStreamingRequestsPerProject", "speech.googleapis.com/concurrent_streaming_requests"
        )

    def refuse_config(self, config: StreamConfig) -> Status | None:
        """The error for the first request, or None."""
        raise NotImplementedError

    def unsupported_audio(self, config: StreamConfig, rates_hertz: tuple[int, ...]) -> Status | None:
        """The error for audio that Google supports and this emulator does not, with a message of its own."""
        if config.encoding not in ("LINEAR16", "MULAW", "ALAW"):
            return _invalid(f"The emulator supports LINEAR16, MULAW and ALAW; it cannot decode {config.encoding}.")
        if rates_hertz and config.sample_rate_hertz not in rates_hertz:
            rates = " or ".join(str(rate) for rate in rates_hertz)
            return _invalid(f"This engine of the emulator supports {rates} Hz, not {config.sample_rate_hertz} Hz.")
        if config.channels != 1:
            return _invalid("The emulator supports one audio channel.")
        return None


@dataclass(frozen=True, slots=True)
class Version1(ApiVersion):
    """v1 and v1p1beta1."""

    def stream_limit(self, limit_s: float) -> Status:
        seconds = f"{limit_s:g}"
        return Status(  # seen
            Code.OUT_OF_RANGE, f"Exceeded maximum allowed stream duration of {seconds} seconds."
        )

    def idle(self) -> Status:
        return Status(  # seen
            Code.OUT_OF_RANGE,
            "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
        )

    def refuse_config(self, config: StreamConfig) -> Status | None:
        if not config.encoding:
            return _invalid("Invalid recognition 'config': bad encoding..")  # seen
        if not 8000 <= config.sample_rate_hertz <= 48000:
            return _invalid("Invalid recognition 'config': bad sample rate hertz.")  # seen
        if not config.languages or not config.languages[0]:
            return _invalid("Invalid recognition 'config': bad language code.")  # seen
        language = canonical_language(config.languages[0])
        limited_to = V1_LIMITED_MODELS.get(config.model)
        if config.model not in V1_MODELS or (limited_to is not None and not covers(limited_to, language)):
            named = f"{config.model} model" if config.model in ("phone_call", "video") else "requested model"
            return _invalid(  # seen, both forms
                f"Invalid recognition 'config': The {named} is currently not supported for language : {language}."
            )
        return None


@dataclass(frozen=True, slots=True)
class Version2(ApiVersion):
    """v2."""

    @property
    def activity_timeout_event(self) -> EventType | None:
        return None

    def stream_limit(self, limit_s: float) -> Status:
        minutes = limit_s / 60
        # Google's limit is 305 s in v1 and "5 minutes" in v2: near that value, the text is the one seen.
        text = "5 minutes" if 300 <= limit_s <= 305 else f"{limit_s:g} seconds"
        if limit_s < 300 and minutes >= 1 and minutes == int(minutes):
            text = f"{int(minutes)} minutes"
        return Status(Code.ABORTED, f"Max duration of {text} reached for stream.")  # seen

    def idle(self) -> Status:
        return Status(  # seen
            Code.ABORTED, "Stream timed out after receiving no more client requests."
        )

    def refuse_config(self, config: StreamConfig) -> Status | None:
        if not config.recognizer_valid:
            return _invalid("Invalid resource field value in the request.")  # seen
        if not config.encoding or not 8000 <= config.sample_rate_hertz <= 48000:
            return _invalid(
                "The audio encoding and sample rate must be set in explicit_decoding_config for audio without a header."
            )
        if not config.languages:
            return _invalid("language_codes must hold at least one language.")
        locations_and_languages = V2_MODELS.get(config.model or "long")
        if locations_and_languages is None or not covers(locations_and_languages[0], config.location):
            return _invalid(  # seen
                f'The model "{config.model}" does not exist in the location named "{config.location}".'
            )
        for language in config.languages:
            if not covers(locations_and_languages[1], canonical_language(language)):
                return _invalid(  # seen
                    f'The language "{language}" is not supported by the model "{config.model}" '
                    f'in the location named "{config.location}".'
                )
        return None


API_VERSIONS: Final[dict[str, ApiVersion]] = {
    "v1": Version1("v1"),
    "v1p1beta1": Version1("v1p1beta1"),
    "v2": Version2("v2"),
}
