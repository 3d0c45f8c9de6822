"""Starts the end-of-turn model that the settings name, if they name one."""

from __future__ import annotations

from fastcall.end_of_turn.model_process import ModelProcess
from fastcall.end_of_turn.smart_turn import check_model_file
from fastcall.end_of_turn.worker import is_factory
from fastcall.ports import EndOfTurnModel
from fastcall.settings import Settings

__all__ = ["load_end_of_turn_model"]


async def load_end_of_turn_model(settings: Settings) -> EndOfTurnModel | None:
    """Return the model of ``TURN_MODEL``, ready to answer; None if the setting is empty. Close it with ``aclose``.

    :raises UsageError: it cannot be loaded; the message says what to do
    """
    name = settings.turn_model
    if name is None:
        return None
    if not is_factory(name):
        check_model_file(name)
    model = ModelProcess(name, timeout_s=settings.turn_model_timeout_ms / 1000)
    await model.start()
    return model
