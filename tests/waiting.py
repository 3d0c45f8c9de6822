"""To wait for what a test's other side does, where it tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from peers import PATIENCE_S

__all__ = ["until_called"]


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
