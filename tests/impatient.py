"""Handlers of calls for processes that are to end soon, whatever their handlers do: the bounds are shorter."""

from __future__ import annotations

import logging

from fastcall.agent import controller as agent
from fastcall.agent.call import Call
from fastcall.server import app
from fastcall.server import call_manager as calls
from talkers import break_the_process as break_it

app.STOP_TIMEOUT_S = 2.0
app.LEFTOVERS_TIMEOUT_S = 1.0
agent.HANDLER_GRACE_S = 0.05
agent.HANDLER_CANCEL_S = 0.05
calls.SHUTDOWN_S = 1.0


async def break_the_process(call: Call) -> None:
    """See ``talkers``."""
    logging.getLogger("fastcall.test").info("handler begins")
    await break_it(call)
