"""The gRPC service: streams of bytes in and out of `Conversation`s. No behaviour of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from fastcall.adapters.emulator.conversation import Conversation, Host
from fastcall.adapters.emulator.dialects import DIALECTS
from fastcall.adapters.emulator.messages import Status

__all__ = ["handlers"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _QueuePeer:
    """Carries a conversation's answers to the coroutine that may write them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Status] = asyncio.Queue()

    def send(self, message: bytes) -> None:
        self.queue.put_nowait(message)

    def finish(self, status: Status) -> None:
        self.queue.put_nowait(status)


def handlers(host: Host) -> list[grpc.GenericRpcHandler]:
    """One generic handler a version. Messages stay bytes: grpc is given no serialisers."""
    return [
        grpc.method_handlers_generic_handler(
            dialect.service,
            {"StreamingRecognize": grpc.stream_stream_rpc_method_handler(_behaviour(host, version))},
        )
        for version, dialect in DIALECTS.items()
    ]


def _behaviour(host: Host, version: str) -> Any:
    async def streaming_recognize(requests: AsyncIterator[bytes], context: Any) -> None:
        peer = _QueuePeer()
        conversation = Conversation(host, version, peer)
        reader = asyncio.ensure_future(_read(requests, conversation))
        try:
            while not isinstance(item := await peer.queue.get(), Status):
                await context.write(item)
            if item.code:
                context.set_code(_CODES[int(item.code)])
                context.set_details(item.message)
        finally:
            conversation.cancelled()
            reader.cancel()

    return streaming_recognize


async def _read(requests: AsyncIterator[bytes], conversation: Conversation) -> None:
    async for data in requests:
        conversation.message(data)
    conversation.half_closed()
