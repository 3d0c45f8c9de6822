"""When an agent may begin before the text is committed, and when that was in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcall.turns.speculation import Speculation


def test_a_text_that_stands_is_begun_on_once_and_kept() -> None:
    rule = Speculation(0.2)
    assert not rule.partial("my name", now=1.0)
    assert rule.next_deadline() == 1.2
    assert not rule.partial("my name is", now=1.15)
    assert rule.start(now=1.2) is None
    assert rule.start(now=1.35) == "my name is"
    assert rule.start(now=9.0) is None
    assert rule.next_deadline() is None
    assert not rule.partial("My name is.", now=1.5)
    assert rule.committed("my name is") == "kept"
    assert rule.committed("my name is") == "none"


def test_other_words_end_it_at_once() -> None:
    rule = Speculation(0.2)
    rule.partial("my name is", now=1.0)
    assert rule.start(now=1.2) is not None
    assert rule.partial("my name is michael", now=1.3)
    assert not rule.partial("my name is michael smith", now=1.4)
    assert rule.start(now=1.6) == "my name is michael smith"
    assert rule.committed("my name is michael") == "changed"


def test_zero_is_never() -> None:
    rule = Speculation(0.0)
    assert not rule.partial("my name", now=1.0)
    assert rule.next_deadline() is None
    assert rule.start(now=100.0) is None
    assert rule.committed("my name") == "none"


def plain(text: str) -> list[str]:
    return text.lower().replace(",", "").replace("!", "").split()


@given(st.lists(st.tuples(st.sampled_from(["", "a", "a b", "A, b!", "c"]), st.integers(0, 30)), max_size=20))
def test_what_is_kept_was_begun_on_the_same_words(steps: list[tuple[str, int]]) -> None:
    rule, now, begun = Speculation(0.15), 0.0, None
    for text, hundredths in steps:
        now += hundredths / 100
        started = rule.start(now=now)
        if started is not None:
            assert begun is None
            begun = started
        if rule.partial(text, now=now):
            assert begun is not None
            begun = None
    last = steps[-1][0] if steps else ""
    outcome = rule.committed(last)
    assert (outcome == "none") == (begun is None)
    if outcome == "kept":
        assert begun is not None
        assert plain(begun) == plain(last)
