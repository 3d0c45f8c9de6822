"""The rules of one stream: what Google's service accepts, refuses and answers, and when.

Pure: the inputs are requests, the engine's events, and `now` (seconds, monotonic); the outputs are responses and
finally a status. The driver calls `receive`, `half_close`, `on_engine_event` and `handle_deadline`, arms one timer for
`next_deadline`, and after each call sends what `take` returns. Not thread-safe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fastcall.emulator.engines.base import (
    EngineEvent,
    Failed,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.faults import Fault, Kind, StreamFaults
from fastcall.emulator.messages import (
    AudioRequest,
    Code,
    ConfigRequest,
    EventType,
    MalformedRequest,
    Request,
    Response,
    Status,
    StreamConfig,
)
from fastcall.emulator.results import ResultPolicy

if TYPE_CHECKING:
    from random import Random

    from fastcall.emulator.api_versions import ApiVersion
    from fastcall.emulator.options import Options

__all__ = ["StreamRules"]

_BYTES_PER_SAMPLE: Final = {"LINEAR16": 2, "MULAW": 1, "ALAW": 1}

# After a single utterance the client is expected to half-close. If it does not, the stream ends once no audio has
# arrived for _QUIET_S, or at the latest after _MAX_DEAF_S.
_QUIET_S: Final = 0.5
_MAX_DEAF_S: Final = 5.0


class StreamRules:
    """One stream from its opening to its status."""

    def __init__(
        self,
        options: Options,
        api_version: ApiVersion,
        random: Random,
        *,
        rates_hertz: tuple[int, ...],
        now: float,
        faults: StreamFaults | None = None,
    ) -> None:
        self._options = options
        self._api_version = api_version
        self._random = random
        self._rates_hertz = rates_hertz
        self.faults = faults if faults is not None else StreamFaults()
        self.cuts: list[Kind] = []
        """Faults that the driver must inject into the connection: RESET or GOAWAY. It empties the list."""
        self._mute_until: float | None = None  # a stall: audio is recognized, nothing is sent
        self._unsaid: Status | None = None  # how the stream ended during the stall
        self._opened = now
        self._last_audio = now
        self._bytes_per_second = 1.0
        self._audio_bytes = 0
        self._results: ResultPolicy | None = None
        self._out: list[Response] = []
        self._half_closed = False
        self._engine_finished = False
        self._speech_deadline: float | None = None  # voice activity timeout, in wall time
        self._deaf_since: float | None = None  # single_utterance is over: audio is no longer taken
        self._is_settled = False  # ... and its words are known
        self.config: StreamConfig | None = None
        self.status: Status | None = None
        """How the stream ended; None while it is open."""
        self.audio_s = 0.0
        """Audio received, in seconds."""

    # Inputs.

    def receive(self, request: Request, *, now: float) -> bytes | None:
        """Process a request. Returns the audio to feed to the engine, if any."""
        if self._is_over:
            return None
        if isinstance(request, AudioRequest):
            return self._receive_audio(request.audio, now)
        if isinstance(request, ConfigRequest):
            self._receive_config(request.config, now)
        elif isinstance(request, MalformedRequest):
            self._end(self._api_version.malformed())
        else:
            self._end(self._api_version.malordered())
        return None

    def half_close(self, *, now: float) -> None:
        """The client sends nothing more. The driver must then call the engine stream's `finish`, if there is one."""
        self._half_closed = True
        if self.config is None:
            self._end(self._api_version.malordered())
        elif self._engine_finished:
            self._complete()

    def on_engine_event(self, event: EngineEvent, *, now: float) -> None:
        """Process an event of the engine."""
        results = self._results
        if self._is_over or results is None:
            return
        match event:
            case Heard(words):
                results.add_words(words)
            case UtteranceEnded():
                results.end_utterance(event, audio_s=self.audio_s, now=now)
                self._is_settled = self._deaf_since is not None
            case SpeechBegan(at_s):
                self._speech_began(at_s)
            case SpeechEnded(at_s):
                self._speech_ended(at_s, now)
            case Failed(message, busy):
                self._end(Status(Code.RESOURCE_EXHAUSTED if busy else Code.INTERNAL, message))
            case Finished():
                self._engine_finished = True
                self._complete()

    @property
    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`; None: not needed."""
        if self.status is not None:
            return None
        options, deadlines = self._options, []
        if self._mute_until is not None and self._mute_until < math.inf:
            deadlines.append(self._mute_until)
        if self._unsaid is not None:
            return min(deadlines, default=None)
        if options.stream_limit_s:
            deadlines.append(self._opened + options.stream_limit_s)
        if options.idle_s and not self._half_closed:
            deadlines.append(self._last_audio + options.idle_s)
        if self._results is not None and self._results.next_deadline is not None:
            deadlines.append(self._results.next_deadline)
        if self._speech_deadline is not None:
            deadlines.append(self._speech_deadline)
        if self._leave_at is not None:
            deadlines.append(self._leave_at)
        return min(deadlines, default=None)

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due by `now`; harmless if nothing is."""
        if self._mute_until is not None and now >= self._mute_until:
            self._mute_until = None
            self.status, self._unsaid = self._unsaid, None
        if self._is_over:
            return
        options = self._options
        if self._results is not None:
            self._out += self._results.finals(audio_s=self.audio_s, now=now)
            if self._leave_at is not None and now >= self._leave_at:
                self._complete()
                return
        if options.stream_limit_s and now >= self._opened + options.stream_limit_s:
            self._end(self._api_version.stream_limit(options.stream_limit_s))
        elif options.idle_s and not self._half_closed and now >= self._last_audio + options.idle_s:
            self._end(self._api_version.idle())
        elif self._speech_deadline is not None and now >= self._speech_deadline:
            self._activity_timeout()

    def take(self) -> list[Response]:
        """The responses to send now, in order. Call it after each of the above."""
        if self._mute_until is not None:
            return []
        if self._results is not None and self.status is None:
            interim = self._results.interim(audio_s=self.audio_s)
            if interim is not None:
                self._out.append(interim)
        out, self._out = self._out, []
        if self.faults.duplicates and any(response.results for response in out):
            self.faults.fired.append(Kind.DUPLICATE)
            out = [copy for response in out for copy in ([response] * 2 if response.results else [response])]
        return out

    def inject(self, fault: Fault, *, now: float) -> None:
        """Inject a fault now: a status, a reset or GOAWAY of the connection, a stall."""
        if self._is_over:
            return
        self.faults.fired.append(fault.fault)
        match fault.fault:
            case Kind.STATUS:
                assert fault.code is not None
                self._end(Status(Code[fault.code], fault.message or ""))
            case Kind.RESET | Kind.GOAWAY:
                self.cuts.append(fault.fault)
            case Kind.STALL:
                self._mute_until = math.inf if fault.for_s is None else now + fault.for_s

    @property
    def _leave_at(self) -> float | None:
        """When the stream of a single utterance ends without a half-close by the client."""
        if self._deaf_since is None or self._results is None or self._results.has_waiting_final:
            return None
        at_last = self._deaf_since + _MAX_DEAF_S
        return min(self._last_audio + _QUIET_S, at_last) if self._is_settled else at_last

    @property
    def _is_over(self) -> bool:
        return self.status is not None or self._unsaid is not None

    # Processing.

    def _receive_config(self, config: StreamConfig, now: float) -> None:
        if self.config is not None:
            self._end(self._api_version.malordered())
            return
        if self.faults.has_no_quota:
            self.faults.fired.append(Kind.QUOTA)
            self._end(self._api_version.requests_per_minute())
            return
        refusal = self._api_version.refuse_config(config)
        refusal = refusal or self._api_version.unsupported_audio(config, self._rates_hertz)
        if refusal is not None:
            self._end(refusal)
            return
        self.config = config
        self._last_audio = now
        self._bytes_per_second = _BYTES_PER_SAMPLE[config.encoding] * float(config.sample_rate_hertz)
        self._results = ResultPolicy(self._options, config, self.faults, self._random)
        if config.speech_start_timeout_s:
            self._speech_deadline = now + config.speech_start_timeout_s
        self._inject_due(now)

    def _receive_audio(self, audio: bytes, now: float) -> bytes | None:
        options = self._options
        if self.config is None:
            self._end(self._api_version.malordered())
            return None
        if options.max_chunk_bytes and len(audio) > options.max_chunk_bytes:
            self._end(self._api_version.chunk_too_large(len(audio), options.max_chunk_bytes))
            return None
        if not audio:
            return None  # ignored: the idle limit still applies
        self._last_audio = now
        # Count bytes, not seconds: rounding of a sum of floats would bill a second too many.
        self._audio_bytes += len(audio)
        self.audio_s = self._audio_bytes / self._bytes_per_second
        if options.max_speed:
            allowed_s = options.max_burst_s + options.max_speed * (now - self._opened)
            if self.audio_s > allowed_s:
                self._end(self._api_version.too_fast())
                return None
        if options.stream_limit_s and self.audio_s > options.stream_limit_s:
            self._end(self._api_version.stream_limit(options.stream_limit_s))
            return None
        self._inject_due(now)
        return None if self._deaf_since is not None or self._is_over else audio

    def _inject_due(self, now: float) -> None:
        for fault in self.faults.due(self.audio_s):
            self.inject(fault, now=now)

    def _speech_began(self, at_s: float) -> None:
        assert self.config is not None
        self._speech_deadline = None
        if self.config.voice_activity_events:
            self._out.append(Response(event=EventType.SPEECH_ACTIVITY_BEGIN, event_s=at_s))

    def _speech_ended(self, at_s: float, now: float) -> None:
        assert self.config is not None
        if self.config.voice_activity_events:
            self._out.append(Response(event=EventType.SPEECH_ACTIVITY_END, event_s=at_s))
        if self.config.speech_end_timeout_s:
            self._speech_deadline = now + self.config.speech_end_timeout_s
        if self.config.single_utterance and self._deaf_since is None:
            self._deaf_since = now
            self._out.append(Response(event=EventType.END_OF_SINGLE_UTTERANCE, event_s=at_s))

    def _activity_timeout(self) -> None:
        """No speech for the time that the client set: v1 sends an event, v2 only ends the stream."""
        self._speech_deadline = None
        event = self._api_version.activity_timeout_event
        if event is not None:
            self._out.append(Response(event=event, event_s=self.audio_s))
        self._complete()

    def _complete(self) -> None:
        """End regularly: pending finals, the billed time with the last response, OK."""
        if self._is_over:
            return
        if self._results is not None:
            self._out += self._results.finals(audio_s=self.audio_s, now=None)
        billed_s = float(math.ceil(self.audio_s))
        last = self._out.pop() if self._out and self._out[-1].results else Response()
        self._out.append(Response(last.results, billed_s=billed_s))
        self._end(Status(Code.OK))

    def _end(self, status: Status) -> None:
        if self._is_over:
            return
        if self._mute_until is not None:
            self._unsaid = status
        else:
            self.status = status
