"""Engines for the Whisper worker that say, hang or die as the language tells them, and one that hears tones."""

from __future__ import annotations

import os
import signal
import threading

from fastcall.audio.tones import ToneRecognizer
from fastcall.errors import UsageError


class Stub:
    """``recognize`` does what the language says."""

    def __init__(self) -> None:
        self.handled = 0

    def lacks(self, language: str) -> bool:
        return language == "xx"

    def warm_up(self, language: str) -> None:
        pass

    def recognize(self, pcm: bytes, language: str) -> str:
        self.handled += 1
        if language == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if language == "hang":
            threading.Event().wait()
        if language == "raise":
            raise ValueError("no such sound")
        if language == "print":
            print("libraries print", flush=True)
        return f"{language} {len(pcm)} bytes, number {self.handled}"


class Refusing(Stub):
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise UsageError("no model here: name another")


class Dying(Stub):
    """Ends while it loads."""

    def __init__(self) -> None:
        os._exit(3)


def hear_tones(pcm: bytes, language: str) -> str:
    """The words of the tones language in ``pcm``: a user's own fallback, plain."""
    recognizer = ToneRecognizer()
    return " ".join(word.text for word in (*recognizer.accept(pcm), *recognizer.finish()))


async def hear_tones_async(pcm: bytes, language: str) -> str:
    """The same, ``async``."""
    return hear_tones(pcm, language)


may_answer = threading.Event()


def hear_tones_late(pcm: bytes, language: str) -> str:
    """The same, when ``may_answer`` is set."""
    may_answer.wait(30)
    return hear_tones(pcm, language)


def fail(pcm: bytes, language: str) -> str:
    """Raise, as a function with a defect does."""
    raise RuntimeError("the cloud is down")


def of_one_argument(pcm: bytes) -> str:
    """What ``--fallback`` refuses."""
    return ""


class Tones(Stub):
    """Hears the tones language."""

    def recognize(self, pcm: bytes, language: str) -> str:
        return hear_tones(pcm, language)
