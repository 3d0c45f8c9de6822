"""What a recognizer's stream tells, for tests that open one themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastcall.ports import StreamEnd, StreamResult
from peers import PATIENCE_S

__all__ = ["KeepingListener"]


class KeepingListener:
    """Keeps it, in order: lists of results, ``"writable"``, the end. Fulfils ``StreamListener``."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self._over = asyncio.Event()

    @property
    def results(self) -> list[StreamResult]:
        return [result for each in self.told if isinstance(each, list) for result in each]

    @property
    def ends(self) -> list[StreamEnd]:
        return [each for each in self.told if isinstance(each, StreamEnd)]

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        assert not self.ends, "a result after the end"
        self.told.append(list(results))

    def stream_writable(self) -> None:
        self.told.append("writable")

    def stream_ended(self, end: StreamEnd) -> None:
        self.told.append(end)
        self._over.set()

    async def wait_over(self) -> StreamEnd:
        async with asyncio.timeout(PATIENCE_S):
            await self._over.wait()
        return self.ends[0]
