"""The agent's side of one call: runs its handler, passes it events, interrupts it, and measures its responses.

The runner reports events and never waits. The controller owns the handler's task or thread, the call's audio player and
one timer, and ends them. A handler that fails ends alone: the call continues with the configured prompt, or in silence.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from fastcall.agent.blocking import run_in_thread
from fastcall.agent.call import Call
from fastcall.agent.heard_text import Heard
from fastcall.agent.player import Speech
from fastcall.agent.response_latency import FirstResponse, ResponseLatency
from fastcall.aio.stall_monitor import is_async, watch_steps
from fastcall.call_logger import call_logger
from fastcall.events import (
    SAMPLES_PER_MS,
    BargeIn,
    BeepHeard,
    CallStarted,
    DtmfPressed,
    MachineDetected,
    MarkPlayed,
    Partial,
    TranscriptEvent,
    Utterance,
)
from fastcall.metrics import Metrics
from fastcall.ports import CallSocket
from fastcall.recognition.session import RecognitionSession
from fastcall.settings import Settings
from fastcall.turns.call_machine import CallMachine, CloseSession, NoteSpeech, SpeechCommand
from fastcall.turns.completeness import Expectation
from fastcall.turns.turn_policy import (
    HoldSpeech,
    IgnoreSpeech,
    InterruptionConfirmed,
    ReleaseSpeech,
    ResumeSpeech,
    StopSpeech,
)
from fastcall.twilio.stream_key import StreamKey

__all__ = ["AgentCommand", "AgentController", "Handler"]

AgentCommand = NoteSpeech | CloseSession | DtmfPressed | MarkPlayed | SpeechCommand
"""The call machine's commands that concern a handler."""


Handler = Callable[[Any], Any]
"""``async def handler(call: Call)``, or a plain function of one ``BlockingCall``, which gets a thread."""

# Time for a handler's cleanup after the call's end.
HANDLER_GRACE_S = 5.0
# And after its cancellation.
HANDLER_CANCEL_S = 1.0

# As many as the recognition session still assigns words to.
MAX_WORDLESS = 64


class AgentController:
    """One call's handler. Loop thread only. Implements ``CallOwner``.

    :param session: the call's recognition, for call time
    :param machine: the call's rules, for the position of the last voice
    :param publish: publishes transcript events
    :param prompt: mu-law audio for the caller when the handler has failed; empty: silence
    """

    def __init__(
        self,
        handler: Handler,
        started: CallStarted,
        socket: CallSocket,
        session: RecognitionSession,
        machine: CallMachine,
        *,
        publish: Callable[[TranscriptEvent], None],
        settings: Settings,
        metrics: Metrics,
        prompt: bytes = b"",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._log = call_logger("fastcall.call", StreamKey.of(started))
        self._session = session
        self._machine = machine
        self._publish = publish
        self._metrics = metrics
        self._prompt = prompt
        self._turns = ResponseLatency()
        self._wordless: deque[int] = deque(maxlen=MAX_WORDLESS)
        """Ids of utterances committed without words, which may still arrive."""
        self._interrupted: Heard | None = None
        """What had been heard when the agent was stopped, until that is confirmed or taken back."""
        self._has_stalled = False
        self._is_given_up = False
        self._call = Call(
            started,
            socket,
            weakref.proxy(self),  # only the runner and the running handler keep the controller alive
            replay_buffer=session.replay_buffer,
            call_time=machine.call_time,
            metrics=metrics,
            turns=self._turns,
            speculate_s=settings.speculate_after_ms / 1000,
        )
        self._task = self._loop.create_task(self._run_handler())

    # --- from the runner ----------------------------------------------------------------------------------

    def note_command(self, command: AgentCommand) -> None:
        """One of the call machine's commands."""
        player = self._call.player
        match command:
            case NoteSpeech(speaking, sample):
                if not speaking:
                    self._turns.ended(sample, now=self._loop.time())
            case DtmfPressed():
                self._call.deliver(command)
            case MarkPlayed(name):
                if not player.echoed(name):
                    self._call.deliver(command)
            case CloseSession():
                player.finish()  # the caller is gone; words may still come
            case HoldSpeech():
                player.hold()
            case ReleaseSpeech(is_superseded):
                if is_superseded:
                    player.supersede()
                player.release()
            case _:
                self._note_interruption(command)

    @property
    def has_hung_up(self) -> bool:
        """Whether the handler has hung up."""
        return self._call.has_hung_up

    def carry_over(self, started: CallStarted, socket: CallSocket) -> None:
        """The call continues on another stream."""
        self._call.carry_over(started, socket)

    def note(self, event: TranscriptEvent) -> None:
        """A transcript event."""
        utterance_id, text = event.utterance_id or 0, event.text or ""
        if event.event == "partial":
            self._call.deliver(Partial(utterance_id, text))
        elif event.event == "utterance_end":
            self._commit(event, utterance_id, text)
        elif event.event == "machine_detected":
            self._call.deliver(MachineDetected((event.details or {})["reason"]))
        elif event.event == "beep":
            self._call.deliver(BeepHeard())
        elif event.event == "amended":
            is_backchannel = _is_backchannel(event)
            if utterance_id in self._wordless and not is_backchannel:
                # The handler was told nothing yet that it could answer.
                self._wordless.remove(utterance_id)
                self._commit(event, utterance_id, text)
            else:
                utterance = self._utterance_of(
                    event, utterance_id, text, is_correction=True, is_backchannel=is_backchannel
                )
                self._call.deliver(utterance)

    def finish(self) -> None:
        """The call is over."""
        self._call.finish()
        if not self._task.done():
            self._loop.call_later(HANDLER_GRACE_S, self._cancel_handler)

    def _cancel_handler(self) -> None:
        """Cancel it; a handler that ignores this is abandoned."""
        if self._is_given_up and not self._task.done():
            self._metrics.agent_failures += 1
            self._log.warning("the handler is still running after its call ended and it was cancelled; abandoning it")
        if self._task.cancel() and not self._is_given_up:
            self._loop.call_later(HANDLER_CANCEL_S, self._give_up)

    def _give_up(self) -> None:
        self._is_given_up = True
        self._cancel_handler()

    # --- turns ----------------------------------------------------------------------------------------------

    def _commit(self, event: TranscriptEvent, utterance_id: int, text: str) -> None:
        is_backchannel = _is_backchannel(event)
        if text and not is_backchannel:
            now, end = self._loop.time(), event.end_sample or 0
            spoken_at = now - self._session.clock.age_s(end, now=now)
            self._turns.committed(utterance_id, end, spoken_at=spoken_at, now=now)
            self._call.player.begin_answer()
        else:
            self._wordless.append(utterance_id)
        self._call.deliver(self._utterance_of(event, utterance_id, text, is_backchannel=is_backchannel))

    def _utterance_of(
        self,
        event: TranscriptEvent,
        utterance_id: int,
        text: str,
        *,
        is_correction: bool = False,
        is_backchannel: bool = False,
    ) -> Utterance:
        samples = (event.start_sample or 0, event.end_sample or 0)
        start_ms, end_ms = (self._machine.call_time.of(sample) // SAMPLES_PER_MS for sample in samples)
        return Utterance(utterance_id, text, start_ms, end_ms, is_correction, is_backchannel)

    def _answered(self, found: FirstResponse) -> None:
        metrics = self._metrics
        metrics.first_response_seconds.observe(found.total_s)
        metrics.turn_endpointing_seconds.observe(found.endpointing_s)
        metrics.turn_commit_seconds.observe(found.commit_s)
        metrics.turn_agent_seconds.observe(found.agent_s)
        metrics.turn_first_audio_seconds.observe(found.first_audio_s)
        parts = ("total", "endpointing", "commit", "agent", "first_audio", "gained")
        details = {f"{part}_ms": round(1000 * getattr(found, f"{part}_s"), 1) for part in parts}
        self._publish(TranscriptEvent("first_response", found.utterance_id, details=details))

    # --- interruptions ----------------------------------------------------------------------------------------

    def _note_interruption(self, command: StopSpeech | InterruptionConfirmed | ResumeSpeech | IgnoreSpeech) -> None:
        match command:
            case StopSpeech():
                self._stop()
            case InterruptionConfirmed():
                heard, self._interrupted = self._interrupted, None
                if heard is not None:
                    self._call.player.interrupt()
                    self._call.deliver(BargeIn(self._machine.turn_id, heard.text, heard.ms))
            case ResumeSpeech():
                if self._interrupted is not None:
                    self._interrupted = None
                    self._metrics.barge_ins_taken_back += 1
                    self._call.player.resume()
            case IgnoreSpeech(reason):
                self._publish_not_interrupted(reason)

    def _stop(self) -> None:
        """The caller must not hear the agent any more."""
        player = self._call.player
        if not player.is_speaking:
            return
        heard = player.pause()
        if not player.is_paused:
            # What comes next is not interruptible, and was not known when this began.
            self._publish_not_interrupted("uninterruptible")
            self._tell_machine()
            return
        self._interrupted = heard
        now = self._loop.time()
        after_s = self._session.clock.age_s(self._machine.voice_sample, now=now)
        self._metrics.barge_ins += 1
        self._metrics.barge_in_seconds.observe(after_s)
        details = {"heard_ms": heard.ms, "after_ms": round(1000 * after_s, 1)}
        self._publish(TranscriptEvent("barge_in", self._machine.turn_id, heard.text, details=details))

    def _publish_not_interrupted(self, reason: str) -> None:
        self._publish(TranscriptEvent("not_interrupted", self._machine.turn_id, details={"reason": reason}))

    def _tell_machine(self) -> None:
        """What the caller hears has changed."""
        player = self._call.player
        if player.is_paused or not player.is_speaking:
            if self._machine.agent_silent():
                player.hold()
        else:
            self._machine.agent_speaks(is_interruptible=player.is_interruptible)

    # --- CallOwner -------------------------------------------------------------------------------------

    def speech_held(self, speech: Speech) -> None:
        """See the protocol."""
        self._publish_audio(speech, {"state": "held"})

    def speech_began(self, speech: Speech) -> None:
        """See the protocol."""
        turn, speech.turn = speech.turn, None
        if turn is not None:
            self._answered(self._turns.sent(turn, now=self._loop.time()))
        speech.began_sample = self._session.call_samples
        self._publish_audio(speech, {"state": "begin"})
        self._tell_machine()

    def speech_ended(self, speech: Speech, heard: Heard) -> None:
        """See the protocol."""
        if speech.has_begun:
            state = "played" if heard.is_whole else "cut"
            self._publish_audio(speech, {"state": state, "heard_text": heard.text, "heard_ms": heard.ms})
            self._tell_machine()
        elif speech.was_held:
            self._publish_audio(speech, {"state": "dropped"})

    def audio_sent(self, codes: bytes | memoryview) -> None:
        """See the protocol."""
        self._machine.agent_sends(codes)

    def expect(self, expectation: Expectation | None) -> None:
        """See ``CallOwner``."""
        self._machine.expect(expectation)

    def speech_paused(self, speech: Speech, heard: Heard) -> None:
        """See the protocol."""
        self._publish_audio(speech, {"state": "paused", "heard_text": heard.text, "heard_ms": heard.ms})

    def speech_resumed(self, speech: Speech) -> None:
        """See the protocol."""
        self._publish_audio(speech, {"state": "resumed"})
        self._tell_machine()

    def mark_passed(self, name: str) -> None:
        """See the protocol."""
        self._call.deliver(MarkPlayed(name))

    def clear_overdue(self, marks: int) -> None:
        """See the protocol."""
        self._metrics.clears_overdue += 1
        self._log.warning("%d marks did not come back within 1 s of clear; what was heard is an estimate", marks)

    def source_failed(self, error: BaseException) -> None:
        """See the protocol."""
        self._metrics.agent_failures += 1
        self._log.error("the audio of a say() failed; the part before is played", exc_info=error)

    def _publish_audio(self, speech: Speech, details: dict[str, Any]) -> None:
        start = speech.began_sample
        end = None if details["state"] in ("held", "begin") else self._session.call_samples
        details = {"speech_id": speech.number, **details}
        self._publish(
            TranscriptEvent(
                "agent_audio", text=speech.text or None, start_sample=start, end_sample=end, details=details
            )
        )

    # --- the handler ----------------------------------------------------------------------------------------

    async def _run_handler(self) -> None:
        try:
            if is_async(self._handler):
                await watch_steps(self._handler(self._call), self.stalled, lambda: self._is_given_up)
            else:
                await run_in_thread(self._handler, self._call)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # The handler is the user's code: its failure is logged, and the call continues.
            self._metrics.agent_failures += 1
            self._log.error("the handler failed; the call continues without it", exc_info=error)
            if self._prompt and not self._call.is_over:
                self._call.say(self._prompt)

    def stalled(self, seconds: float) -> None:
        """See ``CallOwner``."""
        self._metrics.agent_stalls += 1
        if not self._has_stalled:
            self._has_stalled = True
            self._log.warning(
                "the handler blocked the event loop, and every call, for %.0f ms: make it a plain `def`, or use "
                "asyncio.to_thread; logged once per call",
                1000 * seconds,
            )


def _is_backchannel(event: TranscriptEvent) -> bool:
    return bool((event.details or {}).get("backchannel"))
