"""Checks whether the recognizer's address is reachable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["Probe"]

TIMEOUT_S = 2.0
REMEMBERED_S = 2.0


class Probe:
    """Connects and disconnects. Loop thread only; concurrent callers share one attempt.

    :param reach: connects as streams do; raises OSError if that fails
    """

    def __init__(self, reach: Callable[[], Awaitable[None]]) -> None:
        self._reach = reach
        self._asked_at: float | None = None
        self._answer: asyncio.Task[bool] | None = None

    async def is_reachable(self) -> bool:
        """Whether a connection can be made; the result may be 2 s old."""
        now = asyncio.get_running_loop().time()
        if self._answer is None or (self._answer.done() and now - (self._asked_at or 0.0) > REMEMBERED_S):
            self._asked_at = now
            self._answer = asyncio.get_running_loop().create_task(self._connect())
        return await asyncio.shield(self._answer)

    async def _connect(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._reach()
        except (OSError, UnicodeError, OverflowError):  # a TimeoutError is an OSError
            return False
        return True
