"""Factories of end-of-turn models that answer, fail, hang or die as the text tells them."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from fastcall.errors import UsageError

GARBAGE = {"nan": float("nan"), "two": 2.0, "negative": -0.1, "text": "0.5", "none": None, "complex": 1j}


class Stub:
    """Does what the text says; else answers with the text as a number, or with how much audio there is."""

    def __init__(self) -> None:
        self.handled = 0

    def __call__(self, pcm: bytes, text: str) -> Any:
        self.handled += 1
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "hang":
            threading.Event().wait()
        if text == "raise":
            raise LookupError("no such turn")
        if text == "print":
            print("libraries print", flush=True)
        if text == "handled":
            return self.handled / 1000
        if text == "threads":
            return 1 / int(os.environ["OPENBLAS_NUM_THREADS"])
        if text == "audio":
            return len(pcm) / 1_000_000
        if text in GARBAGE:
            return GARBAGE[text]
        return float(text or 0.5)


def constant() -> Any:
    """A model that always answers 0.75."""
    return lambda pcm, text: 0.75


def refusing() -> Any:
    """Cannot be loaded, and says what to do."""
    raise UsageError("no weights here: name another file")


def broken() -> Any:
    """Cannot be loaded, by a defect."""
    return {}["weights"]


def dying() -> Any:
    """Ends while it loads."""
    os._exit(3)


def without_model() -> Any:
    """A factory that returns nothing."""


def of_one_argument() -> Any:
    """A model that does not accept the text."""
    return lambda pcm: 0.5


def of_garbage() -> Any:
    """A model that returns no probabilities."""
    return lambda pcm, text: "finished"
