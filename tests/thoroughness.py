"""How much is tried where more proves more: random examples, seeds of the simulation, inputs of a fuzzer.

Usually as much as finds a mistake with high likelihood. ``make thorough`` (FASTCALL_THOROUGH=1) tries several times as
much, and every combination.
"""

from __future__ import annotations

import os

__all__ = ["THOROUGH", "amount"]

THOROUGH = os.environ.get("FASTCALL_THOROUGH", "0") != "0"


def amount(usual: int, *, thorough: int) -> int:
    """How many this run tries."""
    return thorough if THOROUGH else usual
