"""To wait for what a test's other side does, where it tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from peers import PATIENCE_S

__all__ = ["until_called", "until_so"]

ASK_EVERY_S = 0.02


async def until_so(is_true: Callable[[], Awaitable[Any]]) -> None:
    """Ask until it is so, and leave the machine to whom it is about: for what other processes tell nobody."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_S):
        while not await is_true():
            next_at = loop.time() + ASK_EVERY_S
            await asyncio.sleep(next_at - loop.time())


async def until_called(owner: Any, method: str, is_true: Callable[[], Any]) -> None:
    """Wait until it is true; it may become so with each call of ``owner.method`` on this loop."""
    called = asyncio.Event()
    own = getattr(owner, method)

    def calling(*arguments: Any, **options: Any) -> Any:
        try:
            return own(*arguments, **options)
        finally:
            called.set()

    setattr(owner, method, calling)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                called.clear()
                await called.wait()
    finally:
        delattr(owner, method)
