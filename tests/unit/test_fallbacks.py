"""Which fallback there is, and what is refused."""

from __future__ import annotations

import sys

import pytest

import stub_engines
from fastcall.errors import UsageError
from fastcall.fallbacks import load_fallback, start_fallback
from fastcall.recognition.callable_fallback import CallableFallback
from fastcall.settings import Settings


@pytest.mark.parametrize("name", ["hear_tones", "hear_tones_async"])
def test_a_function_of_ones_own_is_found(name: str) -> None:
    assert load_fallback(f"stub_engines:{name}") is getattr(stub_engines, name)


@pytest.mark.parametrize(
    "name", ["stub_engines", "no_such_module:x", "stub_engines:no_such", "stub_engines:of_one_argument", "os:sep", ":x"]
)
def test_what_is_none_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="--fallback"):
        load_fallback(name)


def test_a_function_in_c_may_have_no_signature() -> None:
    assert load_fallback("builtins:getattr") is getattr


async def test_ones_own_comes_before_whisper_and_without_either_there_is_none() -> None:
    fallback = await start_fallback(Settings(whisper_model="/no/such"), stub_engines.hear_tones, "en-US")
    assert isinstance(fallback, CallableFallback)
    assert await start_fallback(Settings(), None, "en-US") is None


async def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="WHISPER_MODEL=/no/such/model: there is no such directory; name a directory"):
        await start_fallback(Settings(whisper_model="/no/such/model"), None, "en-US")


async def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fastcall.whisper.engine", "fastcall.whisper.pool"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"pip install 'fastcall\[whisper\]'"):
        await start_fallback(Settings(whisper_model="small"), None, "en-US")
