"""One call's rules.

Every decision about what happens in a call is made here, and nothing here knows that sockets, clocks or recognizers
exist. Events and ``now`` go in; commands come out; ``next_deadline`` says when to call even if nothing happened.

The states of a call::

    state      | start            | media            | stop / closed     | session closed | deadline
    -----------+------------------+------------------+-------------------+----------------+----------------------
    waiting    | -> live          | reject           | -> over           | -              | -
    live       | close 1008       | audio            | end utterance,    | note it        | endpointing, ledger
               |                  |                  | close session     |                |
               |                  |                  | -> ending         |                |
    ending     | reject           | reject           | -                 | commit the     | ledger
               |                  |                  |                   | rest, -> over  |
    over       | -                | -                | -                 | -              | -

The stream of a live call may be replaced between two messages (``moved``); the call continues. ``close N`` includes the
effects of a stop. In ``waiting`` and ``live``, text that is not UTF-8 closes with 1007, a flood of messages and an
invalid start with 1008, and a refusal by the gate or the connection's watchdog (``server/watchdog.py``) with its own
code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastcall._codec import EndpointRule, ForegroundGate
from fastcall.audio.endpointing import TONE, SpeechBegan, SpeechEnded
from fastcall.audio.timeline import MAX_SILENCE_SAMPLES, CallTime, InboundTimeline
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    CallStarted,
    CallStopped,
    Connected,
    DtmfPressed,
    FallbackAsked,
    FallbackSilent,
    MachineDetected,
    MarkPlayed,
    MediaFrame,
    NoWords,
    RecognitionEvent,
    Refused,
    Rejected,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
    SocketClosed,
    TranscriptEvent,
)
from fastcall.recognition.ledger import TranscriptLedger
from fastcall.settings import Settings
from fastcall.turns.completeness import Expectation
from fastcall.turns.lexicon import lexicon_of
from fastcall.turns.machine_detection import MachineDetection
from fastcall.turns.turn_policy import (
    AskEndOfTurn,
    Completeness,
    HoldSpeech,
    IgnoreSpeech,
    InterruptionConfirmed,
    ReleaseSpeech,
    ResumeSpeech,
    StopSpeech,
    TurnPolicy,
)
from fastcall.twilio.stream_key import StreamKey

__all__ = [
    "CallMachine",
    "CloseSession",
    "CloseSocket",
    "Command",
    "NoteSpeech",
    "OpenSession",
    "PushAudio",
    "SpeechCommand",
    "Warn",
]

# RFC 6455 section 7.4.1
INVALID_DATA = 1007
POLICY_VIOLATION = 1008

# A shorter pause between two streams is no gap: as in the timeline, messages jitter by some 12 ms.
JITTER_SAMPLES = 50 * SAMPLES_PER_MS

FRAME_SAMPLES = 20 * SAMPLES_PER_MS

# Explanations for sockets closed without `stop`, by close code.
_LOSSES: dict[int | None, str] = {
    1002: "the peer does not speak the WebSocket protocol correctly",
    1006: "the network between Twilio and this server failed, or a proxy cut the connection",
    1009: "a message of over 64 KiB; Twilio's have about 400 bytes, so this is another kind of client",
}
_ORDERLY = (1000, 1001, 1005)


@dataclass(slots=True, frozen=True)
class OpenSession:
    """Open the call's one recognition session."""

    call: CallStarted


@dataclass(slots=True)
class PushAudio:
    """Pass ``silence_samples`` of silence and then ``mulaw`` to the recognizer and to the voice detector."""

    silence_samples: int
    mulaw: bytes
    cut_samples: int = 0
    """Silence before it that is not passed to them, but counts in call time."""


@dataclass(slots=True, frozen=True)
class NoteSpeech:
    """Inform the session that speech began, or ended, at ``sample``."""

    speaking: bool
    sample: int
    is_last: bool = False
    """No more audio follows."""


@dataclass(slots=True, frozen=True)
class CloseSession:
    """No more audio will come: flush, collect the last finals, then report ``SessionClosed``."""


@dataclass(slots=True, frozen=True)
class CloseSocket:
    """Close the WebSocket with this code; the reason is logged and sent."""

    code: int
    reason: str


@dataclass(slots=True, frozen=True)
class Warn:
    """A warning to be logged once."""

    message: str


SpeechCommand = StopSpeech | InterruptionConfirmed | ResumeSpeech | IgnoreSpeech | HoldSpeech | ReleaseSpeech
"""What the agent is to do with its speech."""

Command = (
    OpenSession
    | PushAudio
    | NoteSpeech
    | CloseSession
    | CloseSocket
    | Warn
    | TranscriptEvent
    | DtmfPressed
    | MarkPlayed
    | SpeechCommand
    | AskEndOfTurn
)

Event = (
    Connected
    | CallStarted
    | MediaFrame
    | DtmfPressed
    | MarkPlayed
    | CallStopped
    | SocketClosed
    | Rejected
    | Refused
    | RecognitionEvent
    | FallbackAsked
    | FallbackSilent
    | SessionStarted
    | SessionFailed
    | SessionRotated
    | NoWords
    | SessionClosed
)

State = Literal["waiting", "live", "ending", "over"]


class CallMachine:
    """The rules of one call, from opening the socket to the last words. Pure; one thread.

    :param settings: the configuration
    :param completeness: judges how complete a text is; by default word lists of the language
    :param language: of the call, BCP 47; by default the settings'
    :param asks_model: whether there is a model that knows ends of turns by their sound
    """

    def __init__(
        self,
        settings: Settings,
        completeness: Completeness | None = None,
        *,
        language: str | None = None,
        asks_model: bool = False,
    ) -> None:
        self._state: State = "waiting"
        self._call: CallStarted | None = None
        self._session_open = False
        self._refused_for: str | None = None
        self._is_clock_told = False
        self._moved_from: float | None = None
        """When the previous stream's audio ended; None once this one's has begun."""
        self.timeline = InboundTimeline()
        self.call_time = CallTime()
        """Maps the session's and the voice detector's audio to call time: long silence is shortened for them."""
        self.rejected: Counter[str] = Counter()
        """Rejected messages, by reason."""
        self._turns = TurnPolicy(settings, completeness, language=language, asks_model=asks_model)
        self._lexicon = lexicon_of(language or settings.language_or())
        self._detection = MachineDetection({}, self._lexicon)
        self.turn_id = 0
        """The utterance that is the newest turn of the caller; 0: none yet."""
        self._ended_by: dict[int, str] = {}
        """Why turns ended that are not committed."""
        self._backchannel_id = 0
        """The newest utterance that was committed as a backchannel; its final may differ."""
        self._ledger = TranscriptLedger(
            commit_s=settings.utterance_commit_ms / 1000, debounce_s=settings.partial_debounce_s
        )
        self._fallback_wait_s = settings.stt_fallback_timeout_ms / 1000
        self._commands: list[Command] = []

    # --- what a runner asks -----------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``waiting`` for the start, ``live``, ``ending`` (last words), ``over``."""
        return self._state

    @property
    def endpoint_rule(self) -> EndpointRule:
        """Takes frames of 20 ms without an event each; pass its result to ``speech_changed``."""
        return self._turns.rule

    @property
    def foreground_gate(self) -> ForegroundGate | None:
        """Tells the caller's voice from others, for whoever feeds ``endpoint_rule``; None: all is the caller's."""
        return self._turns.gate

    @property
    def call(self) -> CallStarted | None:
        """The call's key, once it has started."""
        return self._call

    def moved(self, call: CallStarted, *, heard_at: float) -> None:
        """The live call continues on another stream, whose timestamps and counters restart.

        :param heard_at: when the previous stream's last audio arrived: call time continues in between
        """
        assert self._call is not None
        details = {"previous_stream_sid": self._call.stream_sid}
        self._commands.append(TranscriptEvent("call_moved", details=details))
        self._call = call
        self._is_clock_told = False
        self._moved_from = heard_at
        self.timeline.restart()

    @property
    def voice_sample(self) -> int:
        """Where the newest run of the caller's voice began."""
        return self._turns.voice_sample

    def commands(self) -> list[Command]:
        """The commands to execute, in order; empties the list."""
        commands, self._commands = self._commands, []
        return commands

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` must be called, or None. It may lie in the past."""
        if self._state == "over":
            return None
        turn_at, text_at = self._turns.next_deadline(), self._ledger.next_deadline()
        if turn_at is None or text_at is None:
            return text_at if turn_at is None else turn_at
        return min(turn_at, text_at)

    def handle_deadline(self, *, now: float) -> None:
        """Time has passed."""
        self._turns.handle_deadline(now=now)
        self._decide(now)
        self._ledger.handle_deadline(now=now)
        self._transcribe(now)

    def receive(self, event: Event, *, now: float) -> None:
        """Process an event. Once the call is over, events are ignored."""
        if self._state != "over":
            _HANDLERS[type(event)](self, event, now)

    # --- the telephone -----------------------------------------------------------------------------

    def _connected(self, event: Connected, now: float) -> None:
        pass  # nothing in it is needed; providers may leave it out

    def _start(self, event: CallStarted, now: float) -> None:
        if self._state == "live":
            self.rejected["second_start"] += 1
            self._refuse("a second start message on one socket", now=now)
        elif self._state == "waiting":
            self._state = "live"
            self._call = event
            self._session_open = True
            key = StreamKey.of(event)
            self.timeline.has_two_tracks = len(key.tracks) > 1
            which = {"stream": key.name, "tracks": key.tracks}
            self._commands += [TranscriptEvent("call_started", details=which), OpenSession(event), NoteSpeech(False, 0)]
            if event.dropped_fields:
                self.rejected["dropped_field"] += len(event.dropped_fields)
                self._commands.append(Warn(f"left out of the start message: {'; '.join(event.dropped_fields)}"))
            self._detection = MachineDetection(event.custom_parameters, self._lexicon)
            self._report_machine()
        else:
            self._reject(Rejected("second_start"), now)

    def _media(self, event: MediaFrame, now: float) -> None:
        if self._state != "live" or self._call is None:
            self._reject(Rejected("before_start", "media outside of start and stop"), now)
        elif event.stream_sid not in ("", self._call.stream_sid):
            self._reject(Rejected("wrong_stream", "media for another streamSid"), now)
        else:
            self._hear(event, now)

    def _hear(self, event: MediaFrame, now: float) -> None:
        timeline, samples = self.timeline, len(event.payload)
        between = self._between_streams(samples, now)
        silence_samples = timeline.place(event.timestamp_ms, samples, event.chunk, event.sequence)
        if timeline.unclocked_frames and not self._is_clock_told:
            self._is_clock_told = True
            self._commands.append(
                Warn("the timestamps of the audio are missing or constant; short gaps cannot be detected")
            )
        if silence_samples is None:
            return
        silence_samples += between
        cut_samples = silence_samples - MAX_SILENCE_SAMPLES
        if cut_samples > 0:
            silence_samples = MAX_SILENCE_SAMPLES
            # In the middle of the remaining silence, so that neither an end before it nor a pre-roll after it moves.
            end = timeline.end_sample - samples - cut_samples - self.call_time.cut_samples
            self.call_time.cut(end - MAX_SILENCE_SAMPLES // 2, cut_samples)
        self._commands.append(PushAudio(silence_samples, event.payload, max(cut_samples, 0)))

    def _between_streams(self, samples: int, now: float) -> int:
        """Samples missing between the previous stream and this one's first frame of ``samples``."""
        if self._moved_from is None:
            return 0
        gap = int((now - self._moved_from) * SAMPLE_RATE_HZ) - samples
        self._moved_from = None
        if gap < JITTER_SAMPLES:
            return 0
        self.timeline.restart(gap)
        return gap

    def _pass_on(self, event: DtmfPressed | MarkPlayed, now: float) -> None:
        if self._state == "live":
            self._commands.append(event)
        else:
            self._reject(Rejected("before_start", "an event outside of start and stop"), now)

    def _reject(self, event: Rejected, now: float) -> None:
        self.rejected[event.reason] += 1
        if event.reason == "not_utf8":
            self._refuse("a text message that is not UTF-8", now=now, code=INVALID_DATA)
        elif event.reason in ("flood", "bad_start"):
            self._refuse(event.detail, now=now)
        elif self.rejected[event.reason] == 1:
            detail = f" ({event.detail})" if event.detail else ""
            self._commands.append(Warn(f"message ignored: {event.reason}{detail}; more like it are only counted"))

    def _refused(self, event: Refused, now: float) -> None:
        self._refuse(event.text, now=now, code=event.code)

    def _socket_closed(self, event: SocketClosed, now: float) -> None:
        # A socket without a start may be anybody's; there is no call to warn about.
        if self._state == "live" and event.code not in _ORDERLY:
            why = _LOSSES.get(event.code or 1006) or event.reason or "no reason given"
            self._commands.append(Warn(f"the socket was closed without a stop message, code {event.code}: {why}"))
        self._stop(event, now)

    def _stop(self, event: CallStopped | SocketClosed, now: float) -> None:
        if self._state == "waiting":
            self._state = "over"
        elif self._state == "live":
            self._turns.stop()
            self._decide(now)
            self._state = "ending"
            if self._session_open:
                self._commands.append(CloseSession())
            else:
                self._finish(now)

    def _refuse(self, reason: str, *, now: float, code: int = POLICY_VIOLATION) -> None:
        if self._state in ("waiting", "live"):
            self._refused_for = reason
            self._commands.append(CloseSocket(code, reason))
            self._stop(SocketClosed(code, reason), now)

    # --- the audio -----------------------------------------------------------------------------------

    def speech_changed(self, change: int, *, now: float) -> None:
        """A frame was fed to ``endpoint_rule``, which returned 1 to 6; or 7: the gate has heard the end of a tone."""
        if change == TONE:
            self._hear_tone()
            return
        self._turns.changed(change, now=now)
        self._decide(now)

    def _decide(self, now: float) -> None:
        """Carry out what the policy has decided."""
        for decision in self._turns.decisions():
            if isinstance(decision, SpeechBegan):
                self.turn_id = self._ledger.begin(decision.start_sample, now=now, voice_sample=decision.voice_sample)
                self._detection.turn_began(self.turn_id, self.call_time.of(decision.voice_sample))
                self._commands.append(NoteSpeech(True, decision.start_sample))
                self._transcribe(now)
            elif isinstance(decision, SpeechEnded):
                ended = self._ledger.end(decision.end_sample, now=now)
                if ended is not None:
                    self._ended_by[ended] = decision.reason
                self._detection.turn_ended(self.call_time.of(decision.end_sample))
                is_last = decision.reason == "stopped"
                self._commands.append(NoteSpeech(False, decision.end_sample, is_last=is_last))
                self._transcribe(now)
            else:
                self._commands.append(decision)

    def _transcribe(self, now: float) -> None:
        """Pass on what the ledger has to tell."""
        for event in self._ledger.take():
            if event.text and self._detection.is_listening:
                self._hear_words(event.utterance_id or 0, event.text)
            self._commands.append(self._with_details(event, now))
        self._decide(now)

    def _with_details(self, event: TranscriptEvent, now: float) -> TranscriptEvent:
        """An utterance's end, or its amendment, with what is known of its turn."""
        utterance_id, text = event.utterance_id or 0, event.text or ""
        if event.event == "utterance_end":
            details: dict[str, str | bool] = {"turn_end": self._ended_by.pop(utterance_id, "")}
            is_newest = utterance_id == self.turn_id
            if is_newest:
                self._turns.commits(text)
                self._decide(now)  # who is told of the utterance knows of the interruption
            self._turns.committed(text, is_newest=is_newest)
            if is_newest and self._turns.is_backchannel:
                details["backchannel"] = True
                self._backchannel_id = utterance_id
            return replace(event, details=details)
        if event.event == "amended" and utterance_id == self._backchannel_id and self._turns.is_backchannel_text(text):
            return replace(event, details={"backchannel": True})
        return event

    def end_of_turn(self, probability: float, end_sample: int) -> None:
        """The model's answer to ``AskEndOfTurn``."""
        self._turns.end_of_turn(probability, end_sample)

    # --- machines --------------------------------------------------------------------------------------

    def _hear_words(self, utterance_id: int, text: str) -> None:
        heard, run = (self.call_time.of(each) for each in (self.endpoint_rule.heard_samples, self.voice_sample))
        self._detection.text(utterance_id, text, heard, run)
        self._report_machine()

    def _hear_tone(self) -> None:
        gate = self.foreground_gate
        assert gate is not None
        end = self.endpoint_rule.heard_samples - gate.frames_since_tone * FRAME_SAMPLES
        start = end - gate.tone_frames * FRAME_SAMPLES
        self._detection.tone(self.call_time.of(start), self.call_time.of(end))
        self._report_machine(start, end)

    def _report_machine(self, start: int | None = None, end: int | None = None) -> None:
        """Report what was found; ``start`` and ``end`` are the tone's, if it was found by one."""
        for found in self._detection.take():
            if isinstance(found, MachineDetected):
                self._commands.append(TranscriptEvent("machine_detected", details={"reason": found.reason}))
            else:
                self._commands.append(TranscriptEvent("beep", start_sample=start, end_sample=end))

    # --- the agent -----------------------------------------------------------------------------------

    def agent_sends(self, codes: bytes | memoryview) -> None:
        """Mu-law audio of the agent is on its way to the caller."""
        self._turns.agent_sends(codes)

    def agent_speaks(self, *, is_interruptible: bool) -> None:
        """The caller hears the agent from now on."""
        self._detection.agent_spoke(self.call_time.of(self.endpoint_rule.heard_samples))
        self._turns.agent_speaks(is_interruptible=is_interruptible)

    def agent_silent(self) -> bool:
        """The agent is not heard any more.

        :return: whether what it says next must be held, at once
        """
        return self._turns.agent_silent()

    def expect(self, expectation: Expectation | None) -> None:
        """What the agent expects to hear next."""
        self._turns.expect(expectation)

    # --- the recognizer ------------------------------------------------------------------------------

    def _recognized(self, event: RecognitionEvent, now: float) -> None:
        self._ledger.receive(event, now=now)
        text = self._ledger.open_text
        if text is not None and self._turns.in_speech:
            self._turns.words(text, event.end_sample, now=now)
        elif text:
            self._turns.late_words(text)
        self._decide(now)
        self._transcribe(now)

    def _fallback_asked(self, event: FallbackAsked, now: float) -> None:
        utterance_id = self._ledger.reschedule(event.end_sample, commit_at=now + self._fallback_wait_s)
        span = (event.start_sample, event.end_sample)
        self._commands.append(TranscriptEvent("fallback", utterance_id, event.reason, *span, event.source))

    def _fallback_silent(self, event: FallbackSilent, now: float) -> None:
        utterance_id = self._ledger.reschedule(event.end_sample, commit_at=now)
        if event.error:
            what = f"failed: {event.error}"
            self._commands += [
                TranscriptEvent("fallback", utterance_id, what, event.start_sample, event.end_sample, event.source),
                Warn(f"the fallback has no words for an utterance; it {what}"),
            ]

    def _session_started(self, event: SessionStarted, now: float) -> None:
        if event.source in ("whisper", "fallback"):
            self._turns.recognizer_changed(is_serving=False, now=now)  # its words come when a turn is over
        self._commands.append(TranscriptEvent("session_started", source=event.source))

    def _session_failed(self, event: SessionFailed, now: float) -> None:
        self._turns.recognizer_changed(is_serving=False, now=now)
        what = f"{event.code}: {event.message}"
        self._commands += [
            TranscriptEvent("session_failed", text=what),
            Warn(f"recognition {'is interrupted' if event.retrying else 'failed'}: {what.rstrip('.')}. {event.advice}"),
        ]

    def _session_rotated(self, event: SessionRotated, now: float) -> None:
        self._turns.recognizer_changed(is_serving=True, now=now)
        self._commands.append(TranscriptEvent("session_rotated", text=event.reason))

    def _no_words(self, event: NoWords, now: float) -> None:
        self._commands += [
            TranscriptEvent("no_words", start_sample=event.start_sample, end_sample=event.end_sample),
            Warn(
                "the recognizer returned no words for 5 s of speech: check that GCP_STT_LANGUAGE is the language "
                "spoken, and the quality of the audio"
            ),
        ]

    def _session_closed(self, event: SessionClosed, now: float) -> None:
        self._session_open = False
        if self._state == "ending":
            self._finish(now)

    def _finish(self, now: float) -> None:
        self._ledger.finish(now=now)
        self._transcribe(now)
        self._commands += [TranscriptEvent("session_closed"), TranscriptEvent("call_ended", text=self._refused_for)]
        self._state = "over"


_HANDLERS: dict[type, Callable[[CallMachine, Any, float], None]] = {
    Connected: CallMachine._connected,
    CallStarted: CallMachine._start,
    MediaFrame: CallMachine._media,
    DtmfPressed: CallMachine._pass_on,
    MarkPlayed: CallMachine._pass_on,
    Rejected: CallMachine._reject,
    Refused: CallMachine._refused,
    CallStopped: CallMachine._stop,
    SocketClosed: CallMachine._socket_closed,
    RecognitionEvent: CallMachine._recognized,
    FallbackAsked: CallMachine._fallback_asked,
    FallbackSilent: CallMachine._fallback_silent,
    SessionStarted: CallMachine._session_started,
    SessionFailed: CallMachine._session_failed,
    SessionRotated: CallMachine._session_rotated,
    NoWords: CallMachine._no_words,
    SessionClosed: CallMachine._session_closed,
}
