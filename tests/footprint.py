"""How much memory a thing holds: what is said to be forgotten must not be kept, wherever that would be."""

from __future__ import annotations

import gc
import os
import sys
import types
from collections import Counter
from pathlib import Path

__all__ = ["footprint", "resident_bytes"]

# What a thing refers to, but does not hold.
SHARED = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType)


def footprint(thing: object, *around: type) -> tuple[int, Counter[str]]:
    """Bytes of all that can be reached from ``thing``, and how many objects of each kind.

    :param around: instances of these are not looked into
    """
    kinds: Counter[str] = Counter()
    total, seen, todo = 0, {id(thing)}, [thing]
    while todo:
        each = todo.pop()
        total += sys.getsizeof(each)
        kinds[type(each).__name__] += 1
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, (*SHARED, *around)):
                seen.add(id(other))
                todo.append(other)
    return total, kinds


def resident_bytes() -> int:
    """Memory of this process. Linux only."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
