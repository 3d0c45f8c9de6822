"""Texts as tokens, in scripts with and without spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.recognition.tokenization import joined, tokens_by_word, tokens_of

LETTERS = "ab1,.'「」（ 好今天ก็ำไทខ្មែរຂອງかナー゙ﾊﾟ\u0301\u200d"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("tell me  a joke", ["tell", "me", "a", "joke"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("你好，今天。", ["你", "好，", "今", "天。"]),
        ("「はい」と", ["「は", "い」", "と"]),
        ("ガード", ["ガ", "ー", "ド"]),
        ("カ\u3099", ["カ\u3099"]),
        ("我有3个iPhone 手机", ["我", "有", "3", "个", "iPhone", " 手", "机"]),
        ("ที่นี่ ครับ", ["ที่", "นี่", " ค", "รั", "บ"]),
        ("ខ្មែរ", ["ខ្មែ", "រ"]),
        ("  ", []),
        ("", []),
    ],
)
def test_tokenization(text: str, tokens: list[str]) -> None:
    assert tokens_of(text) == tokens


@given(st.text(LETTERS))
def test_a_text_comes_out_of_its_tokens_as_it_was(text: str) -> None:
    plain = " ".join(text.split())
    assert joined(tokens_of(plain)) == plain
    assert "" not in tokens_of(plain)


@given(st.text(LETTERS), st.integers(0, 40))
def test_a_text_that_was_cut_is_whole_again(text: str, cut: int) -> None:
    plain = " ".join(text.split())
    tokens = tokens_of(plain)
    assert joined([*tokens[:cut], *tokens[cut:]]) == plain


def test_texts_that_follow_each_other_have_a_space_between_them_where_their_script_has() -> None:
    assert joined([*tokens_of("tell me"), *tokens_of("a joke")]) == "tell me a joke"
    assert joined([*tokens_of("今天"), *tokens_of("天气")]) == "今天天气"


@pytest.mark.parametrize(
    ("text", "words", "given_"),
    [
        ("tell me", ["tell", "me"], ["tell", "me"]),
        ("three four", ["3", "4"], ["three", "four"]),
        ("你好今天天气很好", ["你好", "今天", "天气", "很好"], ["你好", "今天", "天气", "很好"]),
        ("你好，今天。", ["你好", "今天"], ["你好，", "今天。"]),
        ("it is 123", ["it", "is", "one", "two", "three"], ["it", "is", "", "", "123"]),
        ("今日はABCです", ["今日", "は", "abc", "です"], ["今日", "は", "ABC", "です"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"], ["สวัสดี", "ครับ"]),
        ("你好", ["x", "y"], ["你", "好"]),
    ],
)
def test_tokens_by_the_recognizers_words(text: str, words: list[str], given_: list[str]) -> None:
    assert [joined(tokens) for tokens in tokens_by_word(text, words)] == given_


@given(st.text(LETTERS), st.lists(st.text(LETTERS, max_size=4), min_size=1))
def test_no_token_is_lost_or_doubled_whatever_the_words_are(text: str, words: list[str]) -> None:
    plain = " ".join(text.split())
    shares = tokens_by_word(plain, words)
    assert len(shares) == len(words)
    assert [token for tokens in shares for token in tokens] == tokens_of(plain)


def test_a_wide_space_between_words_of_other_scripts_is_a_space() -> None:
    assert tokens_of("tell\u3000me") == ["tell", "me"]
    assert joined(tokens_of("\u3000שלום\u3000לך")) == "שלום לך"


@pytest.mark.parametrize("long", ["a" * 300_000, "\u0301" * 300_000, "你" * 100_000])
def test_texts_as_long_as_a_message_may_be_are_divided_in_one_pass(long: str) -> None:
    tokens = tokens_of(f"好 {long}。")
    assert len(tokens) in (2, 100_001)
    assert joined(tokens) == f"好 {long}。"
