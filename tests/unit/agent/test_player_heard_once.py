"""Whatever happens, the caller hears all that is said, once and in order, but for words that a pause has cut."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import OutboundAudio
from fastcall.agent.player import AudioPlayer, Speech
from handsets import Phone
from sim.clock import elapse, in_virtual_time
from thoroughness import amount

SAID = st.tuples(
    st.just("say"),
    st.integers(200, 4000) | st.integers(4000, 40_000),
    st.sampled_from(["", "one", "some more words", "x yyyyyyyyyyyy zzz"]),
)
STEPS = st.lists(
    st.one_of(
        SAID,
        SAID,
        st.tuples(st.sampled_from(["pause", "resume", "mark", "hold", "release"]), st.just(0), st.just("")),
        st.tuples(st.just("wait"), st.integers(0, 900), st.just("")),
        st.tuples(st.just("wait"), st.integers(0, 900), st.just("")),
    ),
    max_size=40,
)


class Expected:
    """All that was said, in order, and where its words begin."""

    def __init__(self) -> None:
        self.audio = b""
        self.speeches: list[tuple[int, Speech]] = []

    def say(self, samples: int, text: str) -> Speech:
        # No two places in it are alike; it does not begin as a file does.
        said = b"\x55\x55" + random.Random(len(self.speeches)).randbytes(samples - 2)
        audio = OutboundAudio()
        audio.feed(said)
        audio.end()
        self.speeches.append((len(self.audio), Speech(audio, text)))
        self.audio += said
        return self.speeches[-1][1]

    def word_start(self, at: int) -> int:
        start, speech = max(
            ((start, speech) for start, speech in self.speeches if start <= at), key=lambda each: each[0]
        )
        return start + speech.word_start(at - start)

    def check(self, heard: list[bytearray], slack: int) -> None:
        """Each part goes on between the word that the one before was cut in and that cut."""
        low = high = 0
        for number, part in enumerate(heard):
            if number and self.speeches:
                low = self.word_start(max(0, low - slack))
            starts = [at for at in range(low, high + 1) if self.audio.startswith(bytes(part), at)]
            assert starts, (number, low, high, len(part))
            low, high = starts[0] + len(part), starts[-1] + len(part)
        assert high == len(self.audio)


@settings(max_examples=amount(60, thorough=400), deadline=None)
@given(STEPS, st.sampled_from([0.0, 0.03, 0.15]))
def test_the_caller_hears_all_once_and_in_order_but_for_words_that_were_cut(
    steps: list[tuple[str, int, str]], delay_s: float
) -> None:
    @in_virtual_time
    async def run() -> None:
        phone = Phone(delay_s=delay_s)
        player = phone.player = AudioPlayer(phone, "MZ1", phone)
        expected, marks = Expected(), list[tuple[str, int]]()
        heard_ms = 0
        for what, number, text in steps:
            if what == "say":
                player.say(expected.say(number, text))
            elif what == "mark":
                marks.append((f"m{len(marks) % 3}", len(expected.audio)))
                player.mark(marks[-1][0])
            elif what == "wait":
                await elapse(number / 1000)
            else:
                getattr(player, what)()
            if what == "pause":
                assert 8 * player.heard().ms <= phone.played_samples + 2 * 8000 * delay_s + 8
            # A mark that comes late corrects what was assumed.
            assert delay_s or player.heard().ms >= heard_ms
            heard_ms = player.heard().ms
        assert len(phone.told_of("mark")) <= sum(at <= phone.played_samples + 1 for _, at in marks)
        player.release()
        player.resume()
        await elapse(len(expected.audio) / 8000 + 5)
        # To the sample in theory; times are floating-point numbers.
        expected.check(phone.heard, slack=round(2 * delay_s * 8000) + 2)
        numbers = range(1, len(expected.speeches) + 1)
        assert phone.told_of("began") == [("began", number) for number in numbers]
        ended = [Heard(speech.text, (speech.audio.total_samples or 0) // 8, True) for _, speech in expected.speeches]
        assert [heard for _, heard in phone.told_of("ended")] == ended
        assert [name for _, name in phone.told_of("mark")] == [name for name, _ in marks]
        assert not player.is_speaking
        assert phone.told_of("overdue") == []
        assert phone.told_of("paused", "resumed")[1::2] == phone.told_of("resumed")

    run()
