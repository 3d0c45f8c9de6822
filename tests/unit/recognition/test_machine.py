"""Whole calls as lists of what happens: ``CallMachine`` and ``RecognitionMachine`` together, and nothing that waits.

Each line of a story is (when in seconds, what). Audio comes in real time, 20 ms a frame, from 0 on; a stream's results
are told in the time of the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import CallStarted, CallStopped, MediaFrame, TranscriptEvent
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener, StreamResult
from fastcall.recognition.inputs import (
    AskFallback,
    AudioArrived,
    CancelFallback,
    CancelStream,
    CloseRequested,
    FallbackAnswered,
    FinishStream,
    FlushAudio,
    Log,
    Opened,
    OpenStream,
    RecognitionCommand,
    RecognitionInput,
    SpeechChanged,
    UtteranceChanged,
)
from fastcall.recognition.machine import RecognitionMachine
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.recognition.stream_state import StreamState
from fastcall.retry import CircuitBreaker
from fastcall.settings import Settings
from fastcall.turns.call_machine import CallMachine, CloseSession, Command, NoteSpeech, OpenSession, PushAudio

RATE = 8000
FRAME_S = 0.02
FRAME = 160
CHUNK = "MZ1"

# --- what may happen --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speaks:
    """Somebody speaks from now on."""


@dataclass(frozen=True)
class IsQuiet:
    """Nobody does."""


@dataclass(frozen=True)
class Hears:
    """Stream ``stream`` (1 is the first) returns a result that ends at ``end_s`` of the call."""

    stream: int
    text: str
    end_s: float
    is_final: bool = False


@dataclass(frozen=True)
class Ends:
    """The stream ends."""

    stream: int
    code: str


@dataclass(frozen=True)
class FallbackSays:
    """The fallback answers its oldest open request."""

    text: str


@dataclass(frozen=True)
class HangsUp:
    """The call is over."""


Happening = Speaks | IsQuiet | Hears | Ends | FallbackSays | HangsUp
Story = list[tuple[float, Happening]]


# --- the stage --------------------------------------------------------------------------------------------


@dataclass
class Stream:
    """A stream that takes everything. Fulfils ``RecognizerStream``."""

    listener: StreamListener
    writable: bool = True
    written: bytes = b""
    half_closed: bool = False
    cancelled: bool = False

    def write(self, pcm: bytes) -> None:
        self.written += pcm

    def half_close(self) -> None:
        self.half_closed = True

    def cancel(self) -> None:
        self.cancelled = True


class Provider:
    """Fulfils ``Recognizer``."""

    source = "google"

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.streams: list[Stream] = []

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        self.streams.append(Stream(listener))
        return self.streams[-1]

    def model_for(self, config: StreamConfig) -> StreamConfig:
        return config

    def model_refused(self, config: StreamConfig) -> None: ...

    async def aclose(self) -> None: ...


@dataclass
class Stage:
    """Both machines, a clock that the story keeps, and what carries out their commands."""

    settings: Settings
    fallback: str | None
    now: float = 0.0
    transcript: list[TranscriptEvent] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    asked: list[AskFallback] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.provider = Provider()
        self.call = CallMachine(self.settings)
        self.audio = ReplayBuffer(sample_bytes=1, limit_samples=int(self.settings.stt_replay_s * RATE))
        self.recognition = RecognitionMachine(
            self.audio,
            StreamConfig("en-US", "default"),
            self.settings,
            provider=self.provider,
            fallback=self.fallback,
            rand=lambda: 0.5,
        )
        self.senders: dict[StreamState, ProviderStream] = {}
        self.states: list[StreamState] = []
        self._is_running = False

    # --- both machines

    def tell(self, event: RecognitionInput) -> None:
        self.recognition.receive(event, now=self.now)
        self.carry_out()

    def carry_out(self) -> None:
        if self._is_running:
            return
        self._is_running = True
        while (of_call := self.call.commands()) or (of_recognition := self.recognition.commands()):
            for command in of_call:
                self._do_for_call(command)
            if not of_call:
                for each in of_recognition:
                    self._do(each)
        self._is_running = False

    def _do_for_call(self, command: Command) -> None:
        match command:
            case TranscriptEvent():
                self.transcript.append(command)
            case OpenSession():
                self.recognition.receive(Opened(), now=self.now)
            case PushAudio():
                self.audio.append(command.mulaw)
            case NoteSpeech(speaking, sample, is_last):
                self.recognition.receive(SpeechChanged(speaking, sample), now=self.now)
                self.recognition.receive(UtteranceChanged(speaking, sample, is_last), now=self.now)
            case CloseSession():
                self.recognition.receive(CloseRequested(), now=self.now)

    def _do(self, command: RecognitionCommand) -> None:
        match command:
            case OpenStream(state):
                self.states.append(state)
                self.senders[state] = ProviderStream(
                    self.provider,
                    state,
                    self.audio,
                    batch_samples=1200,
                    replay_speed=self.settings.stt_replay_speed,
                    receive=self.tell,
                    on_writable=lambda sender: sender.pump(now=self.now),
                    on_sent=lambda start, end: None,
                )
                self.senders[state].pump(now=self.now)
            case FinishStream(state):
                self.senders[state].finish(now=self.now)
            case CancelStream(state):
                self.senders.pop(state).cancel()
            case FlushAudio():
                for sender in self.senders.values():
                    sender.flush(now=self.now)
            case AskFallback():
                self.asked.append(command)
            case CancelFallback(number):
                self.asked = [ask for ask in self.asked if ask.number != number]
            case Log(_, message):
                self.log.append(message)
            case _:
                self.call.receive(command, now=self.now)

    # --- time

    def until(self, end: float) -> None:
        """Every deadline before ``end``, in order."""
        while True:
            dues = [self.call.next_deadline(), self.recognition.next_deadline()]
            dues += [sender.next_deadline() for sender in self.senders.values()]
            due_at = min((at for at in dues if at is not None), default=end)
            if due_at >= end:
                break
            self.now = max(self.now, due_at)
            for sender in tuple(self.senders.values()):
                sender.handle_deadline(now=self.now)
            self.call.handle_deadline(now=self.now)
            self.recognition.handle_deadline(now=self.now)
            self.carry_out()
        self.now = end

    def frame(self, number: int, *, voiced: bool) -> None:
        """20 ms of audio, of one value, and what the voice detector says of it."""
        payload = bytes([16 + number % 97]) * FRAME
        self.call.receive(MediaFrame(CHUNK, 20 * number, payload, number + 1), now=self.now)
        self.carry_out()
        change = self.call.endpoint_rule.feed(voiced, (number + 1) * FRAME, self.now)
        if change:
            self.call.speech_changed(change, now=self.now)
            self.carry_out()
        for sender in tuple(self.senders.values()):
            sender.pump(now=self.now)
        if self.recognition.wants_audio:
            self.tell(AudioArrived())

    # --- what happens

    def happen(self, what: Happening) -> None:
        match what:
            case Hears(number, text, end_s, is_final):
                state = self.states[number - 1]
                behind = max(0, int(end_s * RATE) - state.start)
                self.provider.streams[number - 1].listener.stream_results([StreamResult(text, is_final, behind)])
            case Ends(number, code):
                self.senders.pop(self.states[number - 1], None)
                self.provider.streams[number - 1].listener.stream_ended(StreamEnd(code, "by the story"))
            case FallbackSays(text):
                self.tell(FallbackAnswered(self.asked.pop(0).number, text))
            case HangsUp():
                self.call.receive(CallStopped(), now=self.now)
        self.carry_out()

    # --- what came of it

    def told(self, *kinds: str) -> list[tuple[str, str]]:
        return [(event.event, event.text or "") for event in self.transcript if event.event in kinds]

    def heard_by(self, number: int) -> tuple[float, float]:
        """Which part of the call a stream was sent, in seconds; it had no gap."""
        state = self.states[number - 1]
        written = self.provider.streams[number - 1].written
        assert state.map.length_samples == len(written) // 2
        assert state.map.pieces <= 1
        return state.start / RATE, state.cursor / RATE


def play(story: Story, *, fallback: str | None = None, **settings: float) -> Stage:
    """Tell a story to both machines, to the end of the call."""
    stage = Stage(Settings(**settings), fallback)  # type: ignore[arg-type]
    stage.call.receive(CallStarted(CHUNK, "CA1", "AC1"), now=0.0)
    stage.carry_out()
    assert all(earlier[0] <= later[0] for earlier, later in pairwise(story)), "a story is told in order"
    rest, frames, voiced, is_over = list(story), 0, False, False
    while rest:
        at, what = rest.pop(0)
        while not is_over and frames * FRAME_S < at:
            stage.until(frames * FRAME_S)
            stage.frame(frames, voiced=voiced)
            frames += 1
        stage.until(at)
        voiced = isinstance(what, Speaks) or (voiced and not isinstance(what, IsQuiet))
        is_over = is_over or isinstance(what, HangsUp)
        stage.happen(what)
    stage.until(stage.now + 60)
    assert stage.told("session_closed") == [("session_closed", "")]
    assert stage.call.state == "over"
    assert stage.recognition.next_deadline() is None
    assert stage.senders == {}
    return stage


# --- the stories ------------------------------------------------------------------------------------------


def test_a_rotation_in_the_middle_of_speech() -> None:
    """The older stream is used until the newer one knows as much; its final does not count any more."""
    stage = play(
        [
            (0.5, Speaks()),
            (2.0, Hears(1, "i would like", 1.9)),
            (3.2, Hears(1, "i would like to order", 3.1)),  # at 3 s the second stream was opened
            (3.4, Hears(2, "i would", 1.5)),
            (3.8, Hears(1, "i would like to order a pizza", 3.7, is_final=True)),
            (4.2, IsQuiet()),
            (4.6, Hears(2, "i would like to order a pizza", 3.9, is_final=True)),
            (5.5, HangsUp()),
            (5.6, Ends(2, "OK")),
        ],
        stt_rotate_after_s=3,
        stt_rotate_by_s=3,
    )
    assert stage.told("session_rotated") == [("session_rotated", "age")]
    assert stage.heard_by(2)[0] == 0.0  # nothing was settled when it was opened
    assert stage.provider.streams[0].cancelled
    assert stage.told("final") == [("final", "i would like to order a pizza")]
    assert stage.told("utterance_end", "amended")[-1][1] == "i would like to order a pizza"
    partials = [text for _, text in stage.told("partial")]
    assert "i would" not in partials[partials.index("i would like to order") :]


def test_a_stream_that_breaks_when_its_final_is_due() -> None:
    """The next one hears everything that was not settled, and gives the final."""
    stage = play(
        [
            (0.5, Speaks()),
            (1.5, Hears(1, "good morning", 1.4, is_final=True)),
            (2.0, Hears(1, "this is", 1.9)),
            (2.5, IsQuiet()),
            (2.6, Ends(1, "UNAVAILABLE")),
            (5.0, Hears(2, "this is anna", 2.5, is_final=True)),
            (6.0, HangsUp()),
            (6.1, Ends(2, "OK")),
        ]
    )
    assert stage.told("session_failed", "session_rotated")[0][0] == "session_failed"
    assert stage.told("session_rotated") == [("session_rotated", "reconnect")]
    assert stage.heard_by(2)[0] == pytest.approx(1.4)
    assert stage.told("final") == [("final", "good morning"), ("final", "this is anna")]
    assert stage.told("utterance_end", "amended")[-1][1] == "good morning this is anna"


def test_an_outage_in_which_the_fallback_recognizes() -> None:
    """What it settles no stream hears again; what it was not asked, the next stream does."""
    outage: Story = [(at, Ends(number, "UNAVAILABLE")) for number, at in ((1, 1.0), (2, 1.3), (3, 1.7))]
    stage = play(
        [
            (0.5, Speaks()),
            *outage,
            (2.0, IsQuiet()),
            (3.1, FallbackSays("hello there")),
            (3.2, Ends(4, "UNAVAILABLE")),
            (6.0, Speaks()),
            (7.0, Hears(5, "i am back", 6.9)),
            (7.2, IsQuiet()),
            (8.0, Hears(5, "i am back", 7.1, is_final=True)),
            (9.0, HangsUp()),
            (9.1, Ends(5, "OK")),
        ],
        fallback="whisper",
    )
    assert [(event.text, event.source) for event in stage.transcript if event.event == "final"] == [
        ("hello there", "whisper"),
        ("i am back", "google"),
    ]
    assert len(stage.told("session_failed")) == 1
    assert stage.heard_by(5)[0] >= 1.9
    assert [text for _, text in stage.told("utterance_end")] == ["hello there", "i am back"]
    assert stage.told("amended") == []


def test_a_late_final_over_three_utterances() -> None:
    """Each was committed with what was known of it; the final changes only the one that it says otherwise of."""
    stage = play(
        [
            (0.5, Speaks()),
            (1.2, Hears(1, "one", 1.1)),
            (1.5, IsQuiet()),
            (3.0, Speaks()),
            (3.8, Hears(1, "one two", 3.7)),
            (4.0, IsQuiet()),
            (5.5, Speaks()),
            (6.3, Hears(1, "one two tree", 6.2)),
            (6.5, IsQuiet()),
            (8.5, Hears(1, "one two three", 6.4, is_final=True)),
            (9.0, HangsUp()),
            (9.1, Ends(1, "OK")),
        ]
    )
    assert [text for _, text in stage.told("utterance_end")] == ["one", "two", "tree"]
    assert stage.told("amended") == [("amended", "three")]
    assert [text for _, text in stage.told("final")] == ["one", "two", "three"]


def test_a_call_that_is_closed_while_a_stream_catches_up() -> None:
    """It catches up faster then, and is closed only when it has heard everything."""
    outage: Story = [(3.0, Ends(1, "UNAVAILABLE")), (3.3, Ends(2, "UNAVAILABLE")), (3.7, Ends(3, "UNAVAILABLE"))]
    stage = play(
        [
            (0.5, Speaks()),
            *outage,
            (9.0, Ends(4, "UNAVAILABLE")),
            (9.5, HangsUp()),
            (13.0, Hears(5, "all that was said", 9.4, is_final=True)),
            (13.1, Ends(5, "OK")),
        ]
    )
    assert stage.provider.streams[4].half_closed
    assert stage.heard_by(5) == (0.0, pytest.approx(9.5, abs=FRAME_S))
    assert stage.told("final") == [("final", "all that was said")]


def test_two_commands_of_one_step_are_given_once_and_in_order() -> None:
    audio = ReplayBuffer(sample_bytes=1, limit_samples=RATE)
    machine = RecognitionMachine(
        audio,
        StreamConfig("en-US", "default"),
        Settings(),
        provider=Provider(),
        fallback=None,
        rand=lambda: 0.5,
    )
    machine.receive(Opened(), now=0.0)
    machine.receive(UtteranceChanged(begins=False, sample=0), now=0.0)
    assert [type(command).__name__ for command in machine.commands()] == ["SessionStarted", "OpenStream", "FlushAudio"]
    assert machine.commands() == []
