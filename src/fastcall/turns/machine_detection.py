"""Tells a voicemail or another machine from a person who has answered a call that the application placed.

Four witnesses, none of which costs a model or a request:

- **Twilio**: its own verdict, if the TwiML passes ``AnsweredBy`` on as a ``<Parameter>``. The values
  (https://www.twilio.com/docs/voice/answering-machine-detection) are ``machine_start``, ``machine_end_beep``,
  ``machine_end_silence``, ``machine_end_other``, ``fax``, ``human``, ``unknown``.
- **words**: what a greeting says and a person does not ("leave a message after the tone").
- **a monologue**: the first turn goes on and on, though nobody has said anything to it yet.
- **a beep**: a loud, steady tone, after which the line is quiet.

Who calls in is never taken for a machine, however long the first sentence is: all but Twilio's verdict count only for
outbound calls. These are the calls with a known ``AnsweredBy``, which Twilio has for outbound calls only, and those
with a ``<Parameter name="Direction">`` of ``outbound-api`` or ``outbound-dial``, the value that Twilio's request for
the TwiML has (https://www.twilio.com/docs/voice/twiml#request-parameters). If Twilio says ``human``, that is believed.

A machine is reported once. Its beep is reported once as well, also after that: it tells when to leave a message.

Pure. Samples are of call time.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS, BeepHeard, MachineDetected, MachineReason
from fastcall.recognition.tokenization import tokens_of
from fastcall.turns.completeness import says_voicemail
from fastcall.turns.lexicon import Lexicon

__all__ = ["MachineDetection"]

OUTBOUND_DIRECTIONS = frozenset({"outbound-api", "outbound-dial"})
MACHINES = frozenset({"machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other", "fax"})
PEOPLE = frozenset({"human"})
UNDECIDED = frozenset({"unknown"})

# Greetings say what they are in their first sentences; later, a person may quote one.
WORDS_SAMPLES = 30 * SAMPLE_RATE_HZ
# A person says "hello?", at most name and company, and waits. Greetings of a voicemail take 10 to 20 s. 18 words in 8 s
# are fluent speech: noise with a few words in it has fewer.
MONOLOGUE_SAMPLES = 8 * SAMPLE_RATE_HZ
MONOLOGUE_WORDS = 18
# A voice that begins so soon after the agent's first audio is no answer to it.
REACTION_SAMPLES = 300 * SAMPLES_PER_MS
# A greeting with its beep takes no longer.
BEEP_SAMPLES = 60 * SAMPLE_RATE_HZ
# Shorter tones are clicks and keys; longer ones are dial tones.
MIN_BEEP_SAMPLES = 180 * SAMPLES_PER_MS
MAX_BEEP_SAMPLES = 3 * SAMPLE_RATE_HZ
# Without other evidence a tone is the beep of a machine only after a greeting: some lines begin with a tone. The voice
# must have begun so long before it, since a detector may take the tone itself for voice.
MIN_GREETING_SAMPLES = 500 * SAMPLES_PER_MS


class MachineDetection:
    """The rules of one call. One thread.

    :param parameters: the TwiML's ``<Parameter>`` elements, by name
    :param lexicon: of the language of the call
    """

    def __init__(self, parameters: Mapping[str, str], lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        answered_by = parameters.get("AnsweredBy", "").strip().lower()
        direction = parameters.get("Direction", "").strip().lower()
        is_outbound = direction in OUTBOUND_DIRECTIONS or answered_by in MACHINES | UNDECIDED
        self._is_judging = is_outbound and answered_by not in PEOPLE
        self._listens_for_beep = self._is_judging and answered_by != "fax"
        self._is_detected = False
        self._voice_at: int | None = None
        """Where the first voice of the call begins."""
        self._turn, self._turn_at = 0, 0
        self._greeting: int | None = None
        """The first turn with words."""
        self._greeting_at = 0
        self._greeting_end: int | None = None
        self._agent_at: int | None = None
        """Where the agent's first audio begins."""
        self._found: list[MachineDetected | BeepHeard] = []
        if answered_by in MACHINES:
            self._detect("twilio")
        if answered_by == "machine_end_beep":
            self._beep()

    @property
    def is_listening(self) -> bool:
        """Whether anything may still be found."""
        return self._is_judging and (self._listens_for_beep or not self._is_detected)

    def take(self) -> list[MachineDetected | BeepHeard]:
        """What was found since the last call, in order."""
        found, self._found = self._found, []
        return found

    def turn_began(self, turn: int, sample: int) -> None:
        """Turn number ``turn`` began; its voice is heard from ``sample`` on."""
        self._turn, self._turn_at = turn, sample
        if self._voice_at is None:
            self._voice_at = sample

    def turn_ended(self, sample: int) -> None:
        """The newest turn ended."""
        if self._greeting == self._turn:
            self._greeting_end = sample

    def agent_spoke(self, sample: int) -> None:
        """The agent is heard from ``sample`` on; only the first time counts."""
        if self._agent_at is None:
            self._agent_at = sample

    def text(self, turn: int, text: str, sample: int, run_sample: int) -> None:
        """A turn's text so far.

        :param sample: where the audio ends that was heard by now
        :param run_sample: where the newest run of voice without a pause begins
        """
        if not text or not self._is_judging or self._is_detected:
            return
        if sample <= WORDS_SAMPLES and says_voicemail(text, self._lexicon):
            self._detect("words")
        elif self._is_monologue(turn, text, sample, run_sample):
            self._detect("monologue")

    def _is_monologue(self, turn: int, text: str, sample: int, run_sample: int) -> bool:
        if self._greeting is None and turn == self._turn:
            self._greeting, self._greeting_at = turn, self._turn_at
        if turn != self._greeting:
            return False
        end = sample if self._greeting_end is None else self._greeting_end
        if end - self._greeting_at < MONOLOGUE_SAMPLES or len(tokens_of(text)) < MONOLOGUE_WORDS:
            return False
        # Who answers the agent's greeting may speak for long, but pauses for breath.
        is_answer = self._agent_at is not None and self._agent_at + REACTION_SAMPLES < self._greeting_at
        return not is_answer or end - run_sample >= MONOLOGUE_SAMPLES

    def tone(self, start_sample: int, end_sample: int) -> None:
        """A steady tone has ended, and the line is quiet."""
        if not self._listens_for_beep or end_sample > BEEP_SAMPLES:
            return
        if not MIN_BEEP_SAMPLES <= end_sample - start_sample <= MAX_BEEP_SAMPLES:
            return
        if not self._is_detected:
            if self._voice_at is None or start_sample - self._voice_at < MIN_GREETING_SAMPLES:
                return
            self._detect("beep")
        self._beep()

    def _detect(self, reason: MachineReason) -> None:
        self._is_detected = True
        self._found.append(MachineDetected(reason))

    def _beep(self) -> None:
        self._listens_for_beep = False
        self._found.append(BeepHeard())
