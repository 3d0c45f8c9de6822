"""A user's own fallback: plain, async, slow, wrong."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable

import pytest

from fastcall.errors import RecognizerError
from fastcall.recognition.callable_fallback import MAX_WAITING, CallableFallback
from peers import turns


def plain(pcm: bytes, language: str) -> str:
    return f"{len(pcm)} {language} {threading.current_thread().name}"


async def on_the_loop(pcm: bytes, language: str) -> str:
    return f"{len(pcm)} {language} {threading.current_thread().name}"


def on_the_loop_of(_: int, pcm: bytes, language: str) -> Awaitable[str]:
    return on_the_loop(pcm, language)


class Callable:
    async def __call__(self, pcm: bytes, language: str) -> str:
        return language


async def test_a_plain_function_runs_beside_the_loop() -> None:
    own = CallableFallback(plain)
    assert own.source == "fallback"
    assert (await own.recognize(b"1234", "he-IL")).startswith("4 he-IL fastcall-fallback")
    await own.aclose()


async def test_an_async_one_runs_on_it() -> None:
    assert await CallableFallback(on_the_loop).recognize(b"12", "en-US") == "2 en-US MainThread"
    assert await CallableFallback(Callable()).recognize(b"12", "en-US") == "en-US"


async def test_a_plain_one_that_returns_an_awaitable() -> None:
    own = CallableFallback(functools.partial(on_the_loop_of, 7))
    assert await own.recognize(b"12", "en-US") == "2 en-US MainThread"
    await own.aclose()


async def test_what_is_no_text_is_a_type_error() -> None:
    own = CallableFallback(lambda pcm, language: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="NoneType"):
        await own.recognize(b"12", "en-US")
    await own.aclose()


async def test_the_loop_goes_on_while_a_plain_one_works() -> None:
    may_end = threading.Event()
    own = CallableFallback(lambda pcm, language: "waited" if may_end.wait(30) else "")
    asking = asyncio.create_task(own.recognize(b"12", "en-US"))
    await turns(10)
    assert not asking.done()
    may_end.set()
    assert await asking == "waited"
    await own.aclose()


async def test_the_queue_is_bounded_and_what_is_not_urgent_has_half_of_it() -> None:
    never = asyncio.Event()

    async def hang(pcm: bytes, language: str) -> str:
        await never.wait()
        return ""

    own = CallableFallback(hang)
    asking = [asyncio.create_task(own.recognize(b"12", "en-US")) for _ in range(MAX_WAITING // 2)]
    await asyncio.sleep(0)
    with pytest.raises(RecognizerError, match="RESOURCE_EXHAUSTED"):
        await own.recognize(b"12", "en-US", urgent=False)
    asking += [asyncio.create_task(own.recognize(b"12", "en-US")) for _ in range(MAX_WAITING // 2)]
    await asyncio.sleep(0)
    with pytest.raises(RecognizerError, match="RESOURCE_EXHAUSTED"):
        await own.recognize(b"12", "en-US")
    never.set()
    assert await asyncio.gather(*asking) == [""] * MAX_WAITING
    assert await own.recognize(b"12", "en-US", urgent=False) == ""
