"""A supervisor whose workers are scripts: it listens, and no process is started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from fastcall.metrics import Metrics
from fastcall.server.options import ServeOptions
from fastcall.server.workers import supervisor as module
from fastcall.server.workers.handle import RemoteCall
from fastcall.server.workers.supervisor import Supervisor
from fastcall.settings import Settings

__all__ = ["ScriptedWorker", "supervising"]


@dataclass(eq=False)
class ScriptedWorker:
    """In the place of a ``WorkerHandle``: keeps the connections that it is given, and what it is told."""

    load: int = 0
    is_ready: bool = True
    is_full: bool = False
    has_room: bool = True
    takes: bool = True
    taken: list[bytes] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    recognizer: str = "a script"
    unready_reason: str = ""
    is_strained: bool = False
    fails: bool = False

    async def wait_ready(self) -> None:
        """It has, always."""

    async def stop(self) -> None:
        """It has nothing to end."""

    async def numbers(self) -> dict[str, Any]:
        return Metrics().snapshot()

    def poll(self, *, now: float) -> None:
        """Nothing happens to it."""

    def take(self, descriptor: int, message: bytes) -> bool:
        os.fstat(descriptor)  # it is still open
        if self.takes:
            self.taken.append(message)
        return self.takes

    def send(self, kind: str, **fields: Any) -> None:
        self.told.append({"type": kind, **fields})

    def has(self, call: RemoteCall) -> bool:
        return True


@contextlib.asynccontextmanager
async def supervising(*workers: ScriptedWorker, **settings: Any) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(
        Settings(**{"speech_emulator_host": "127.0.0.1:1", **settings}), ServeOptions(port=0, workers=len(workers))
    )
    with patch.object(module, "WorkerHandle", lambda number, owner: workers[number - 1]):
        await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()
