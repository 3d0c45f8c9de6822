"""What was heard: against a slow twin that reads the whole story each time it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall.agent.playout import ECHO_GRACE_S, Playout
from thoroughness import amount


@dataclass
class Story:
    """Everything that happened, and the rule read off it from the beginning."""

    told: list[tuple[str, float, str, int, int]] = field(default_factory=list)

    def heard(self, speech: int, now: float) -> int:
        chunks = [(name, who, samples, at) for what, at, name, who, samples in self.told if what == "sent"]
        fate: dict[str, str] = {}
        partly: dict[str, int] = {}
        last_echo_at = float("-inf")
        for place, (what, at, name, _, _) in enumerate(self.told):
            sent_before = [entry[2] for entry in self.told[:place] if entry[0] == "sent"]
            open_ones = [other for other in sent_before if other not in fate]
            if what == "echo" and name in open_ones:
                for other in open_ones[: open_ones.index(name) + 1]:
                    fate[other] = "played"
                last_echo_at = at
            elif what == "clear":
                for number, other in enumerate(open_ones):
                    fate[other] = "cleared"
                    if number == 0:
                        (chunk,) = [each for each in chunks if each[0] == other]
                        partly[other] = self._heard_of(chunk, last_echo_at, at)
        total = 0
        open_ones = [chunk[0] for chunk in chunks if chunk[0] not in fate]
        for chunk in chunks:
            name, who, samples, _ = chunk
            if who == speech and fate.get(name) == "played":
                total += samples
            elif who == speech and name in partly:
                total += partly[name]
            elif who == speech and open_ones and name == open_ones[0]:
                total += self._heard_of(chunk, last_echo_at, now)
        return total

    @staticmethod
    def _heard_of(chunk: tuple[str, int, int, float], last_echo_at: float, at: float) -> int:
        return min(chunk[2], max(0, int((at - max(last_echo_at, chunk[3])) * 8000)))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "echo", "echo", "skip", "again", "clear", "ask"]),
        st.integers(0, 60),
        st.integers(0, 2),
    ),
    max_size=60,
)


@settings(max_examples=amount(80, thorough=300), deadline=None)
@given(STEPS)
def test_as_the_twin_says(steps: list[tuple[str, int, int]]) -> None:
    playout, story, now, echoes = Playout(), Story(), 100.0, list[str]()
    for what, hundredths, speech in steps:
        now += hundredths / 100
        if what == "send":
            samples = 160 * (1 + hundredths % 10)
            name = playout.sent(speech, samples, now=now)
            story.told.append(("sent", now, name, speech, samples))
            echoes.append(name)
        elif what in ("echo", "skip") and echoes:
            # A mark that gets lost is spoken for by the next.
            name = echoes.pop(0) if what == "echo" or len(echoes) < 2 else echoes.pop(1)
            playout.echoed(name, now=now)
            story.told.append(("echo", now, name, 0, 0))
        elif what == "again":
            playout.echoed(f"fastcall:{speech + 1}", now=now)
            story.told.append(("echo", now, f"fastcall:{speech + 1}", 0, 0))
        elif what == "clear":
            stopped = playout.clear(now=now)
            story.told.append(("clear", now, "", 0, 0))
            assert all(heard == story.heard(who, now) for who, heard in stopped.items())
        for who in range(3):
            assert playout.heard_samples(who, now=now) == story.heard(who, now)


def test_what_comes_back_after_clear_was_not_heard() -> None:
    playout = Playout()
    names = [playout.sent(1, 1600, now=0.0) for _ in range(3)]
    assert playout.echoed(names[0], now=0.25) == "played"
    assert playout.clear(now=0.375) == {1: 1600 + 1000}
    assert playout.cleared_marks == 2
    assert [playout.echoed(name, now=0.4) for name in names[1:]] == ["cleared", "cleared"]
    assert playout.echoed(names[2], now=0.4) == "late"
    assert playout.echoed("somebody else's", now=0.4) == "unknown"
    assert playout.heard_samples(1, now=9.0) == 2600
    assert not playout.is_playing(now=0.4)


def test_the_time_counts_at_most_the_next_chunk() -> None:
    playout = Playout()
    playout.sent(1, 1600, now=0.0)
    playout.sent(1, 1600, now=0.0)
    assert playout.heard_samples(1, now=5.0) == 1600


def test_a_chunk_that_follows_a_silence_began_when_it_was_sent() -> None:
    playout = Playout()
    playout.echoed(playout.sent(1, 1600, now=0.0), now=0.2)
    playout.sent(2, 1600, now=10.0)
    assert playout.heard_samples(2, now=10.125) == 1000


def test_the_lead_and_who_is_playing() -> None:
    playout = Playout()
    assert playout.lead_s(now=0.0) == 0
    name = playout.sent(1, 8000, now=0.0)
    assert playout.lead_s(now=0.25) == 0.75
    assert playout.is_waiting(1)
    assert playout.is_playing(now=1.0 + ECHO_GRACE_S - 0.1)
    assert not playout.is_playing(now=1.0 + ECHO_GRACE_S + 0.1)
    assert playout.echoed(name, now=0.9) == "played"
    assert playout.lead_s(now=0.9) == 0
    assert not playout.is_waiting(1)
    playout.forget(1)
    assert playout.heard_samples(1, now=1.0) == 0


@settings(max_examples=amount(80, thorough=300), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["chunk", "mark", "echo", "skip", "clear", "back", "wait"]), st.integers(0, 300)),
        max_size=60,
    )
)
def test_each_mark_of_the_handler_is_passed_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    """A peer that plays and echoes in order, but for those it skips; what it never echoes is given up in time."""
    playout, now, names = Playout(), 50.0, list[str]()
    owed: list[str] = []
    passed: list[str] = []
    for number, (what, hundredths) in enumerate(steps):
        now += hundredths / 100
        if what == "chunk":
            owed.append(playout.sent(1, 1600, now=now))
        elif what == "mark":
            names.append(f"mark {number}")
            playout.mark_sent(names[-1], now=now)
            owed.append(names[-1])
        elif what == "echo" and owed:
            assert playout.echoed(owed.pop(0), now=now) != "unknown"
        elif what == "skip" and owed:
            owed.pop(0)
        elif what == "clear":
            playout.clear(now=now)
        elif what == "back":  # what is dropped is sent again
            for each in playout.take_back(now=now):
                if isinstance(each, str):
                    playout.mark_sent(each, now=now)
                    owed.append(each)
                else:
                    playout.set_back(each, 0, now=now)
                    owed.append(playout.sent(each, 1600, now=now))
        playout.give_up_marks(now=now)
        passed += playout.take_passed()
        assert passed == names[: len(passed)]
        deadline = playout.next_deadline()
        assert deadline is None or now < deadline
    playout.give_up(now=now)
    assert passed + playout.take_passed() == names
    for name in owed:  # late ones say nothing new
        assert playout.echoed(name, now=now) == "late"
    assert (playout.take_passed(), playout.marks, playout.cleared_marks) == ([], 0, 0)


def test_what_is_taken_back_was_not_heard_and_counts_when_it_is_sent_again() -> None:
    playout = Playout()
    names = [playout.sent(1, 1600, now=0.0), playout.sent(1, 1600, now=0.0)]
    playout.mark_sent("m", now=0.0)
    names += [playout.sent(2, 1600, now=0.0), "m"]
    assert playout.echoed(names[0], now=0.25) == "played"
    assert playout.take_back(now=0.375) == [1, "m", 2]
    assert (playout.position(1, now=9.0), playout.heard_samples(2, now=9.0)) == (2600, 0)
    assert playout.lead_s(now=0.375) == 0
    assert (playout.cleared_marks, playout.marks) == (3, 0)
    playout.set_back(1, 2000, now=0.375)
    again = playout.sent(1, 1200, now=1.0)
    playout.mark_sent("m", now=1.0)
    assert [playout.echoed(name, now=1.0) for name in (names[1], "m", names[2])] == ["cleared"] * 3
    assert playout.take_passed() == []
    # What was heard stays so while a part is repeated.
    assert [playout.heard_samples(1, now=now) for now in (1.0, 1.0625, 1.125)] == [2600, 2600, 3000]
    assert playout.position(1, now=1.0625) == 2500
    assert playout.echoed(again, now=1.2) == playout.echoed("m", now=1.2) == "played"
    assert playout.heard_samples(1, now=1.2) == 3200
    assert playout.take_passed() == ["m"]
    playout.forget(1)
    assert playout.heard_samples(1, now=1.2) == 0


def test_marks_before_the_cut_pass_at_once_and_their_echoes_say_nothing() -> None:
    playout = Playout()
    playout.mark_sent("before", now=0.0)
    playout.sent(1, 1600, now=0.0)
    playout.mark_sent("after", now=0.0)
    assert playout.take_back(now=0.1) == [1, "after"]
    assert playout.take_passed() == ["before"]
    assert playout.echoed("before", now=0.2) == "cleared"
    playout.give_up_cleared()
    assert playout.echoed("after", now=0.3) == "late"
    assert playout.take_passed() == []


def test_marks_before_the_cut_do_not_overtake_those_of_an_earlier_clear() -> None:
    playout = Playout()
    playout.mark_sent("cleared", now=0.0)
    playout.clear(now=0.0)
    playout.mark_sent("before the cut", now=0.0)
    assert playout.take_back(now=0.1) == []
    assert playout.take_passed() == []
    playout.give_up_cleared()
    assert playout.take_passed() == ["cleared", "before the cut"]


def test_a_chunk_that_had_its_time_was_heard() -> None:
    playout = Playout()
    playout.sent(1, 1600, now=0.0)
    playout.sent(2, 1600, now=0.0)
    assert playout.take_back(now=1.0) == [2]
    assert playout.heard_samples(1, now=1.0) == 1600


def test_without_echoes_what_should_have_been_played_long_ago_was_played() -> None:
    playout = Playout()
    for tenths in range(0, 100, 2):
        playout.sent(1, 1600, now=tenths / 10)
    assert playout.take_back(now=9.85) == [1]
    # All but the last two seconds and what the peer has buffered, in whole chunks; and the next chunk's time.
    assert playout.position(1, now=9.85) == 80_000 - 10 * 1600 + 1600


def test_a_mark_has_no_sound() -> None:
    playout = Playout()
    playout.mark_sent("m", now=0.0)
    name = playout.sent(1, 1600, now=0.0)
    assert playout.heard_samples(1, now=0.1) == 800
    playout.mark_sent("n", now=0.1)
    assert playout.echoed(name, now=0.2) == "played"
    assert playout.take_passed() == ["m"]
    assert not playout.is_playing(now=0.2)
    assert playout.next_deadline() == 0.2 + ECHO_GRACE_S
