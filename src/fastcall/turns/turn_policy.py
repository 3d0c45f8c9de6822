"""Decides when the caller's turn begins and ends, and when the agent is to stop, to hold back, and to go on.

A turn begins with the caller's voice and ends in silence. How long the silence must be depends on what was said: a text
that is whole ends sooner than one that breaks off after "my". The witnesses:

- **the ear**: the voice detector, and a gate that tells the caller's voice from others in the background;
- **the text**: how complete it is (``turns/completeness``), or what the agent expects to hear (``expect``), as long as
  it covers what was heard; words that are still missing leave it undecided;
- **its age**: a turn ends if no words come any more although some sound goes on;
- **a model** of how ends of turns sound, if there is one: it is asked in each pause, and counts as much as the text;
- **the agent**: what it is playing, and whether that may be interrupted.

The agent is stopped by a run of the caller's voice, or by words that are no backchannel ("mhm", "okay"). Until words
confirm it, an interruption can be taken back: the agent then says the rest. Speech that would begin while the caller's
turn is open is held; if the turn brings words, it is superseded.

Pure. Call time is counted in samples, clock time is an argument in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastcall._codec import EndpointRule, ForegroundGate
from fastcall.audio.endpointing import LOUD, PAUSED, Endpointer, SpeechBegan, SpeechEnded
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS
from fastcall.recognition.tokenization import tokens_of
from fastcall.settings import Settings
from fastcall.turns.completeness import COMPLETE, UNDECIDED, Expectation, completeness, expected, is_backchannel
from fastcall.turns.lexicon import Lexicon, lexicon_of

__all__ = [
    "AskEndOfTurn",
    "Completeness",
    "HoldSpeech",
    "IgnoreSpeech",
    "InterruptionConfirmed",
    "ReleaseSpeech",
    "ResumeSpeech",
    "StopSpeech",
    "TurnDecision",
    "TurnPolicy",
]

FRAME_MS = 20
# The share of frames in the silence at a turn's end that may have voice in them, and how many at most: a cough.
VOICED_SHARE = 0.12
MAX_VOICED_FRAMES = 6
# How much longer the silence must be if background voice goes on, in which weak syllables of the caller get lost.
BACKGROUND_MS = 300
# A text covers the voice if it ends at most so long before it does: detectors go on a little after a word's end.
COVER_SAMPLES = 260 * SAMPLES_PER_MS
# A turn ends if no new words come for this long besides the silence that its text asks for.
NO_WORDS_S = 1.0

# Sound without words holds the agent back, or keeps it silent, for at most so long: it may be no speech.
MAX_HOLD_S = 2.0
MAX_STOP_S = 3.0
# In a pause of this length the text is judged, and a model asked; shorter ones are gaps between words.
PAUSE_MS = 200

Completeness = Callable[[str], float]
"""How complete a text is: from 0 (the caller surely goes on) to 1 (it is surely whole)."""


@dataclass(slots=True, frozen=True)
class StopSpeech:
    """The caller interrupts: the agent must not be heard any more. ``InterruptionConfirmed`` or ``ResumeSpeech``
    follows."""


@dataclass(slots=True, frozen=True)
class InterruptionConfirmed:
    """The interruption has words: what was being said will not be said."""


@dataclass(slots=True, frozen=True)
class ResumeSpeech:
    """The interruption brought no words, or a backchannel: the agent goes on where it was stopped."""

    reason: Literal["no_words", "backchannel"]


@dataclass(slots=True, frozen=True)
class IgnoreSpeech:
    """The caller was heard while the agent spoke, and does not interrupt it."""

    reason: Literal["backchannel", "uninterruptible"]


@dataclass(slots=True, frozen=True)
class AskEndOfTurn:
    """The caller pauses: ask the model whether the turn is over. ``end_of_turn`` takes its answer."""

    start_sample: int
    end_sample: int
    """Where the turn's voice ended."""
    text: str


@dataclass(slots=True, frozen=True)
class HoldSpeech:
    """The caller's turn is open: what the agent says from now on must not begin."""


@dataclass(slots=True, frozen=True)
class ReleaseSpeech:
    """The turn is over: the agent may speak. If the turn has words, what was held is superseded."""

    is_superseded: bool


TurnDecision = (
    SpeechBegan
    | SpeechEnded
    | StopSpeech
    | InterruptionConfirmed
    | ResumeSpeech
    | IgnoreSpeech
    | AskEndOfTurn
    | HoldSpeech
    | ReleaseSpeech
)

_Agent = Literal["silent", "speaking", "stopped"]


class TurnPolicy:
    """The rules of one call. Pure; one thread.

    :param settings: ``TURN_*``, ``VAD_*`` and ``BARGE_IN*``
    :param judge: judges texts; by default the word lists of the call's language do
    :param language: of the call, BCP 47; by default the settings'
    :param asks_model: whether there is a model to ask
    """

    _release_at: float | None

    def __init__(
        self,
        settings: Settings,
        judge: Completeness | None = None,
        *,
        language: str | None = None,
        asks_model: bool = False,
    ) -> None:
        self._lexicon: Lexicon = lexicon_of(language or settings.language_or())
        self._judge = judge or self._judge_by_lexicon
        self._is_adaptive = settings.turn_detection == "adaptive"
        self._min_ms, self._max_ms = settings.turn_min_silence_ms, settings.turn_max_silence_ms
        self._may_interrupt = settings.barge_in
        self._run_frames = max(1, settings.barge_in_min_ms // FRAME_MS) if settings.barge_in else 0
        self._min_words = settings.barge_in_min_words
        self._resume_s = settings.barge_in_resume_ms / 1000
        self._endpointer = Endpointer(
            start_ms=settings.vad_start_ms,
            hangover_ms=self._silence_ms(UNDECIDED) if self._is_adaptive else settings.vad_hangover_ms,
            preroll_ms=settings.vad_preroll_ms,
            max_s=settings.utterance_max_s,
            voiced_frames=self._voiced_frames(self._silence_ms(UNDECIDED)) if self._is_adaptive else None,
            background_ms=BACKGROUND_MS if self._is_adaptive else 0,
        )
        self.gate = foreground_gate() if self._is_adaptive else None
        """Tells the caller's voice from others; None: all voice is the caller's."""
        self._pause_frames = max(1, min(PAUSE_MS, self._min_ms - 2 * FRAME_MS) // FRAME_MS)
        if self._is_adaptive:
            self.rule.report_pause(self._pause_frames)
        self._asks_model = asks_model
        self._expectation: Expectation | None = None
        self._is_recognizing = True
        self._text = ""
        self._text_at, self._text_end = 0.0, 0
        """When the text came, and up to which sample it covers the audio."""
        self._complete: float | None = UNDECIDED
        """How complete it is; None: not judged yet."""
        self._sounds = UNDECIDED, -1
        """What the model said, and where the voice had ended."""
        self._no_words_at: float | None = None
        self._agent: _Agent = "silent"
        self._is_interruptible = True
        self._resume_at: float | None = None
        self._resume_by, self._release_at = 0.0, None
        self._is_backchannel = False
        """The agent was speaking when the newest turn began, and the turn is a backchannel so far."""
        self._is_ignored = self._is_held = self._is_superseded = False
        self._has_spoken = False
        """Whether a turn had words: what is said before that, such as a greeting, answers nothing."""
        self._decisions: list[TurnDecision] = []

    # --- what a machine asks ------------------------------------------------------------------------

    @property
    def rule(self) -> EndpointRule:
        """Takes frames of 20 ms without an event each; pass its result to ``changed``."""
        return self._endpointer.rule

    @property
    def in_speech(self) -> bool:
        """Whether a turn is open."""
        return self._endpointer.in_speech

    @property
    def last_voiced_sample(self) -> int:
        """End of the newest voiced frame of the newest turn."""
        return self._endpointer.last_voiced_sample

    @property
    def voice_sample(self) -> int:
        """Where the newest run of the caller's voice began."""
        return self.rule.run_sample

    @property
    def is_backchannel(self) -> bool:
        """Whether the newest turn only says that the caller listens, while the agent speaks."""
        return self._is_backchannel

    def is_backchannel_text(self, text: str) -> bool:
        """Whether a listener says this without taking the turn."""
        return is_backchannel(text, self._lexicon)

    def decisions(self) -> list[TurnDecision]:
        """What was decided since the last call, in order; empties the list."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` must be called, or None."""
        times = (self._endpointer.next_deadline(), self._no_words_at, self._resume_at, self._release_at)
        return min((time for time in times if time is not None), default=None)

    def handle_deadline(self, *, now: float) -> None:
        """Time has passed."""
        self._end(self._endpointer.handle_deadline(now=now))
        if self._no_words_at is not None and now >= self._no_words_at:
            self._end_without_words(now)
        if self._resume_at is not None and now >= self._resume_at:
            self._take_back(now)
        if self._release_at is not None and now >= self._release_at:
            self._release()

    # --- the ear ------------------------------------------------------------------------------------

    def changed(self, change: int, *, now: float) -> None:
        """A frame was fed to ``rule``, which returned ``change``, from 1 to 6."""
        if change == LOUD:
            self._interrupt_by_voice(now)
            return
        if change == PAUSED:
            self._set_silence()
            if self._asks_model:
                end_sample = self._endpointer.last_caller_sample
                self._decisions.append(AskEndOfTurn(self.rule.start_sample, end_sample, self._text))
            return
        event = self._endpointer.describe(change)
        if isinstance(event, SpeechEnded):
            self._end(event)
            return
        self._text, self._text_end, self._complete, self._no_words_at = "", 0, UNDECIDED, None
        self._is_ignored = self._is_backchannel = False
        self._decisions.append(event)
        if self._agent == "silent" and self._is_adaptive:
            self._is_superseded = self._is_superseded and self._is_held
            self._is_held = True
            self._release_at = now + MAX_HOLD_S if self._is_recognizing else None
            self._decisions.append(HoldSpeech())
        elif self.rule.voice_run_frames >= self._run_frames:
            self._interrupt_by_voice(now)

    def stop(self) -> None:
        """The audio is over."""
        self._end(self._endpointer.end("stopped"))

    def _end(self, event: SpeechEnded | None) -> None:
        if event is not None:
            self._no_words_at = self._release_at = None  # the commit releases it
            self._decisions.append(event)

    # --- the text -----------------------------------------------------------------------------------

    def expect(self, expectation: Expectation | None) -> None:
        """What the caller is likely to say; until a turn with words is committed."""
        self._expectation, self._complete = expectation, None

    def recognizer_changed(self, *, is_serving: bool, now: float) -> None:
        """The recognizer was lost, or serves the call again, perhaps on another stream: that no words have come so far
        means nothing."""
        self._is_recognizing = is_serving
        self._text_at = now
        self._no_words_at = self._release_at = None
        if is_serving and self._is_adaptive and self._endpointer.in_speech:
            if self._text:
                self._await_words(now)
            elif self._is_held:
                self._release_at = now + MAX_HOLD_S

    def words(self, text: str, end_sample: int, *, now: float) -> None:
        """The open turn's text so far, from a result that covers the audio before ``end_sample``."""
        is_new = text != self._text
        self._text, self._text_end = text, end_sample
        if is_new:
            self._text_at, self._complete, self._release_at = now, None, None
            self._interrupt_by_words(text)
        if self._is_adaptive and self._endpointer.in_speech:
            if is_new and self._is_recognizing:
                self._await_words(now)
            if self.rule.quiet_frames >= self._pause_frames:
                self._set_silence()

    def end_of_turn(self, probability: float, end_sample: int) -> None:
        """What the model says of the turn whose voice ended at ``end_sample``. Counts until the caller goes on."""
        if self._endpointer.in_speech and self._endpointer.last_caller_sample == end_sample:
            self._sounds = probability, end_sample
            self._set_silence()

    def late_words(self, text: str) -> None:
        """The text of a turn that has ended and is not committed."""
        self._interrupt_by_words(text)

    def commits(self, text: str) -> None:
        """The text of the newest turn will be committed next. It confirms an interruption, or takes it back.

        A backchannel is an answer if the agent has fallen silent by now: callers are quicker than the last mark of a
        question. If the turn has stopped the agent, it is one only if it was asked for.
        """
        self._interrupt_by_words(text)
        is_answer = self._agent == "silent" or (self._agent == "stopped" and self._is_asked_for(text))
        self._is_backchannel = self._is_backchannel and not is_answer
        if self._agent == "stopped" and text and not self._is_backchannel:
            self._confirm()
        elif self._agent == "stopped":
            self._resume("backchannel" if text else "no_words")

    def _is_asked_for(self, text: str) -> bool:
        asked = self._expectation
        if asked is None or asked.kind not in ("yes_no", "choice"):
            return False
        return expected(text, self._lexicon, asked) == COMPLETE

    def committed(self, text: str, *, is_newest: bool = True) -> None:
        """A turn's text is committed; if it is the newest turn's, after ``commits``.

        :param is_newest: whether no other turn has begun since
        """
        if text and not (is_newest and self._is_backchannel):
            self._is_superseded = self._is_superseded or self._has_spoken
            self._expectation, self._has_spoken = None, True
        if is_newest:
            self._release()

    def _release(self) -> None:
        if self._is_held:
            self._is_held, self._release_at = False, None
            self._decisions.append(ReleaseSpeech(self._is_superseded))

    def _judge_by_lexicon(self, text: str) -> float:
        return completeness(text, self._lexicon)

    def _silence_ms(self, complete: float) -> int:
        return round(self._max_ms - min(max(complete, 0.0), 1.0) * (self._max_ms - self._min_ms))

    @staticmethod
    def _voiced_frames(silence_ms: int) -> int:
        return min(MAX_VOICED_FRAMES, int(silence_ms // FRAME_MS * VOICED_SHARE))

    def _completeness(self) -> float:
        """Of the text; judged only when the caller pauses, since most texts grow before that."""
        if self._complete is None:
            if not self._text:
                self._complete = UNDECIDED
            elif self._expectation is not None:
                self._complete = expected(self._text, self._lexicon, self._expectation)
            else:
                self._complete = self._judge(self._text)
        return self._complete

    def _set_silence(self) -> None:
        """The silence that ends the turn."""
        complete, covered_to = self._completeness(), self._text_end + COVER_SAMPLES
        if self._endpointer.last_caller_sample > covered_to:
            complete = min(complete, UNDECIDED)
        if self._sounds[1] == self._endpointer.last_caller_sample:
            complete, covered_to = (complete + self._sounds[0]) / 2, self._sounds[1]
        # If the caller goes on, a whole text is whole no more; one that breaks off is for the next words to complete.
        until = covered_to if complete > UNDECIDED else -1
        silence_ms = self._silence_ms(complete)
        self.rule.set_hangover(max(1, silence_ms // FRAME_MS), self._voiced_frames(silence_ms), until)

    def _await_words(self, now: float) -> None:
        """End the turn if none come."""
        self._no_words_at = now + self._silence_ms(UNDECIDED) / 1000 + NO_WORDS_S

    def _end_without_words(self, now: float) -> None:
        """End the turn if its text has had no more words for long enough."""
        due_at = self._text_at + self._silence_ms(self._completeness()) / 1000 + NO_WORDS_S
        if not self._text or now >= due_at:
            self._end(self._endpointer.end("no_words") if self._text else None)
            self._no_words_at = None
        else:
            self._no_words_at = due_at

    # --- the agent ----------------------------------------------------------------------------------

    def agent_sends(self, codes: bytes | memoryview) -> None:
        """Mu-law audio of the agent is on its way to the caller."""
        if self.gate is not None:
            self.gate.agent_sends(codes)

    def agent_speaks(self, *, is_interruptible: bool) -> None:
        """The caller hears the agent from now on."""
        # What was to be stopped was not, which is told already, or was dropped for something else.
        self._is_ignored = self._is_ignored or self._agent == "stopped"
        self._agent, self._resume_at = "speaking", None
        self._is_interruptible = is_interruptible
        self.rule.report_run(self._run_frames)
        if self.gate is not None:
            self.gate.agent_speaks()

    def agent_silent(self) -> bool:
        """The agent is not heard any more.

        :return: whether what it says next must be held, at once: the caller has begun to say something meanwhile
        """
        was_speaking = self._agent == "speaking"
        if was_speaking:
            self._agent = "silent"
        self._hush()
        has_floor = self._endpointer.in_speech and bool(self._text) and not self._is_backchannel
        if not (was_speaking and self._is_adaptive and has_floor) or self._is_held:
            return False
        self._is_held, self._is_superseded = True, False
        return True

    def _hush(self) -> None:
        self.rule.report_run(0)
        if self.gate is not None:
            self.gate.agent_silent()

    def _interrupt_by_voice(self, now: float) -> None:
        if not self._may_be_stopped():
            return
        if self._text and is_backchannel(self._text, self._lexicon):
            self._ignore("backchannel")
            return
        self._stop()
        if self._resume_s and self._is_adaptive:
            self._resume_at, self._resume_by = now + self._resume_s, now + max(self._resume_s, MAX_STOP_S)
        else:
            self._confirm()

    def _interrupt_by_words(self, text: str) -> None:
        if not text:
            return
        if self._agent == "silent":
            # One that began while the agent was heard may go on when it is not.
            self._is_backchannel = self._is_backchannel and is_backchannel(text, self._lexicon)
            return
        self._is_backchannel = is_backchannel(text, self._lexicon)
        if self._is_backchannel:
            if self._agent == "speaking":
                self._ignore("backchannel")
        elif self._agent == "stopped":
            self._confirm()
        elif self._min_words and len(tokens_of(text)) >= self._min_words and self._may_be_stopped():
            self._stop()
            self._confirm()

    def _may_be_stopped(self) -> bool:
        if self._agent != "speaking" or not self._may_interrupt:
            return False
        if not self._is_interruptible:
            self._ignore("uninterruptible")
        return self._is_interruptible

    def _ignore(self, reason: Literal["backchannel", "uninterruptible"]) -> None:
        if not self._is_ignored:
            self._is_ignored = True
            self._decisions.append(IgnoreSpeech(reason))

    def _stop(self) -> None:
        self._agent = "stopped"
        self._hush()
        self._decisions.append(StopSpeech())

    def _confirm(self) -> None:
        self._agent, self._resume_at = "silent", None
        self._decisions.append(InterruptionConfirmed())

    def _take_back(self, now: float) -> None:
        """No words have come. While the caller's voice goes on, they may."""
        quiet_s = (self.rule.heard_samples - self.last_voiced_sample) / SAMPLE_RATE_HZ
        if self._endpointer.in_speech and quiet_s < self._resume_s and now < self._resume_by:
            self._resume_at = min(now + max(0.02, self._resume_s - quiet_s), self._resume_by)
        else:
            self._resume("backchannel" if self._text else "no_words")

    def _resume(self, reason: Literal["no_words", "backchannel"]) -> None:
        self._agent, self._resume_at = "silent", None
        self._decisions.append(ResumeSpeech(reason))


def foreground_gate() -> ForegroundGate:
    """The gate of a call. Telephone speech lies between -18 and -30 dBFS; a caller 18 dB below that is still heard."""
    return ForegroundGate(
        caller_db=14,
        background_db=24,
        least_dbfs=-52,
        above_floor_db=6,
        first_level_dbfs=-36,
        echo_db=24,
        first_agent_dbfs=-16,
    )
