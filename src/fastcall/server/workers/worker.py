"""One of several processes that run the calls of one port. Its parent has the port, and controls it.

They exchange lines of JSON over a socket pair (``do`` from the parent, ``tell`` from the worker); connections arrive
over another. When the parent exits, or asks for it, the worker closes its calls, waits for their last words, and exits.

The worker decides what concerns one call only. The parent decides what concerns all processes: whether another process
has the call (by its ``StreamKey``), spent its token, or took the last place. A call begins at once, and is revoked one
message later if it must be: a caller does not wait for two processes to agree. A stream that reconnects to a call of
another worker, as reported by the parent, is passed on unchanged, and begins there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastcall.errors import UsageError
from fastcall.events import CallStarted
from fastcall.metrics import Metrics
from fastcall.server.admission import DEAD_AFTER_S, CallAdmission, CallHolder, Refusal
from fastcall.server.authorizer import Authorizer
from fastcall.server.call_manager import CallManager
from fastcall.server.call_runner import CallRunner
from fastcall.server.options import ServeOptions
from fastcall.server.sniffer import PendingConnections
from fastcall.server.websocket import MediaConnection, UpgradeRequest
from fastcall.server.workers.fd_forwarder import Receiver, Sender, adopt, moved_message, read_message
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey
from fastcall.twilio.stream_tokens import PARAMETER, TICKET, StreamTokens, console_tickets

__all__ = ["LINE_LIMIT_BYTES", "Worker"]

log = logging.getLogger("fastcall.server.workers.worker")

LINE_LIMIT_BYTES = 4 * 1024 * 1024
# The parent counts places.
NO_LIMIT = 1 << 30


class Worker:
    """Loop thread only; ``run`` until the parent says stop.

    :param control: this process's end of the message socket
    :param connections: its end of the socket for connections
    :param on_ready: called before the first call may come
    :param on_end: called when it begins to stop
    """

    def __init__(
        self,
        settings: Settings,
        control: socket.socket,
        connections: socket.socket,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_ready = on_ready
        self._on_end = on_end
        self._settings = settings
        self._control = control
        self._connections = connections
        self._metrics = Metrics()
        self._room = PendingConnections(on_closed=self._note_idle_closed)
        tokens = StreamTokens(settings.stream_secret) if settings.stream_secret else None
        tickets = console_tickets(settings.stream_secret, settings.admin_token)
        self._gate = CallAdmission(max_calls=NO_LIMIT, tokens=tokens, tickets=tickets)
        self._holders: dict[StreamKey, CallHolder] = {}
        self._silent: set[StreamKey] = set()
        """The calls reported to the parent as silent."""
        self._remote_calls: set[StreamKey] = set()
        """The calls of other workers, as reported by the parent."""
        self._open = 0

    async def run(self) -> None:
        """Serve until the parent says stop, or exits."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)  # on a signal to all processes, the parent acts
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=LINE_LIMIT_BYTES)
        line = await reader.readline()
        if not line:
            return
        options = ServeOptions(**json.loads(line))
        manager = CallManager(
            self._settings,
            options,
            self._metrics,
            emit=self._emit,
            is_read=lambda: True,  # only the parent knows
            emit_batch=self._emit_batch,
        )
        self._manager, self._path = manager, options.path
        self._authorizer = Authorizer(self._settings, self._metrics, lets_all_in=options.insecure)
        try:
            await manager.start(
                self, admit=self._admit, leave_room=self._room.leave, pass_on=self._pass_on, on_poll=self._report
            )
        except UsageError as error:
            self._notify("failed", text=str(error))
            await self._writer.drain()
            return
        receiver = Receiver(self._connections, self._take)
        self._sender = Sender(self._connections)
        self._receiver = receiver
        self._on_ready()
        self._notify("ready", recognizer=manager.recognizer)
        await self._receive_commands(reader)
        self._on_end()
        receiver.close()
        await manager.stop()
        self._notify("numbers", numbers=self._snapshot())
        self._writer.close()
        with contextlib.suppress(OSError):  # the parent is gone
            await self._writer.wait_closed()

    # --- the parent's words --------------------------------------------------------------------------------

    async def _receive_commands(self, reader: asyncio.StreamReader) -> None:
        while line := await _line(reader):
            try:
                message = json.loads(line)
                if message["type"] == "stop":
                    return
                self._do(message)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                log.error("invalid message from the parent process; exiting: %r", error)
                return

    def _do(self, message: dict[str, Any]) -> None:
        if message["type"] == "numbers":
            self._notify("numbers", numbers=self._snapshot())
        elif message["type"] == "watch":
            self._manager.watch(frozenset(message["call_sids"]))
        elif message["type"] == "remote":
            key = StreamKey.of_words(message["key"])
            (self._remote_calls.add if message["is_live"] else self._remote_calls.discard)(key)
        elif message["type"] == "revoke":
            key = StreamKey.of_words(message["key"])
            holder = self._holders.get(key)
            if isinstance(holder, CallRunner):
                self.leave(key, holder)
                holder.revoked(message["code"], message["text"])

    def _notify(self, kind: str, **fields: Any) -> None:
        if not self._writer.is_closing():  # the parent is gone; the calls still end in order
            self._writer.write(json.dumps({"type": kind, **fields}).encode() + b"\n")

    def _emit(self, line: str) -> None:
        self._notify("line", line=line)

    def _emit_batch(self, call_sid: str, line: str) -> None:
        self._notify("batch", call_sid=call_sid, line=line)

    def _report(self) -> None:
        self._receiver.poll()
        self._notify(
            "report",
            open=self._manager.open_sockets,
            received=self._receiver.received,
            has_room=self._manager.has_room() and not self._receiver.is_full,
            is_full=self._receiver.is_full,
            is_strained=self._manager.is_strained,
            fails=self._manager.fails,
        )
        # One line per change: however many calls are silent, no line is longer than one key.
        silent = self._manager.silent_calls(DEAD_AFTER_S)
        for key in silent ^ self._silent:
            self._notify("silent" if key in silent else "heard", key=key.words())
        self._silent = silent

    def _snapshot(self) -> dict[str, Any]:
        self._metrics.sockets_waiting = len(self._room)
        return self._manager.snapshot()

    # --- connections ------------------------------------------------------------------------------------------

    async def _take(self, descriptor: int, message: bytes) -> None:
        about, received = read_message(message)
        if about is None:
            await adopt(descriptor, received, self._manager.websocket)
        else:
            await adopt(descriptor, received, partial(self._manager.moved_websocket, about["target"]))

    def _pass_on(self, call: CallStarted, connection: MediaConnection) -> bool:
        """A stream reconnects to a call of another worker: the parent passes it there."""
        key = StreamKey.of(call)
        if key not in self._remote_calls or self._gate.holder(key) is not None:
            return False
        about = {"key": key.words(), "target": connection.target}
        return connection.give(
            lambda descriptor, received: self._sender.send(descriptor, moved_message(about, received))
        )

    # --- who may come in -----------------------------------------------------------------------------------

    def _admit(self, upgrade: UpgradeRequest) -> tuple[int, str] | None:
        return self._authorizer.check(self._path, upgrade)

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        """A call's start was received: decide what can be decided here, and ask the parent for the rest."""
        refusal = self._gate.enter(call, holder, now=time.monotonic(), unix_now=time.time())
        if refusal is None:
            key = StreamKey.of(call)
            self._holders[key] = holder
            tokens = {name: call.custom_parameters.get(name, "") for name in (PARAMETER, TICKET)}
            self._notify("enter", key=key.words(), stream_sid=call.stream_sid, tokens=tokens)
        else:
            self._metrics.note_refusal(refusal.reason, is_auth=refusal.is_auth)
        return refusal

    def holder(self, key: StreamKey) -> CallHolder | None:
        """See ``Gate``."""
        return self._gate.holder(key)

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """A call's socket is gone."""
        self._gate.leave(key, holder)
        if self._holders.get(key) is holder:
            del self._holders[key]
            self._notify("leave", key=key.words())

    def _note_idle_closed(self) -> None:
        self._metrics.idle_closed += 1


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The parent's next line; empty when it is gone."""
    try:
        return await reader.readline()
    except (ConnectionError, ValueError):  # gone, or malformed
        return b""
