"""The process that holds a Whisper model: requests on stdin, texts on stdout, one after the other.

It ends when its stdin does, and with it when the server is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from fastcall.errors import UsageError
from fastcall.whisper.engine import Engine, EngineOptions
from fastcall.whisper.frames import HEADER, MAX_HEAD_BYTES, pack

__all__ = ["main", "serve"]

# The audio of live calls comes before the text of an outage.
NICENESS = 5


class Recognizing(Protocol):
    """What serves requests: ``Engine``, or another in tests."""

    def lacks(self, language: str) -> bool:
        """Whether it does not have this language (BCP 47)."""

    def recognize(self, pcm: bytes, language: str) -> str:
        """The words in LINEAR16 at 8 kHz."""

    def warm_up(self, language: str) -> None:
        """Load what is loaded late."""


def _read(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    return data


def serve(make: Callable[[], Recognizing], language: str, source: BinaryIO, sink: BinaryIO) -> None:
    """Load, say ``ready`` or why not, then answer until ``source`` ends."""

    def say(**head: Any) -> None:
        sink.write(pack(head))
        sink.flush()

    try:
        engine = make()
        if engine.lacks(language):
            raise UsageError(
                f"this Whisper model does not have the language {language}: choose a multilingual one (a name without "
                "'.en') in WHISPER_MODEL, or another language in GCP_STT_LANGUAGE"
            )
        engine.warm_up(language)
    except UsageError as error:
        say(refused=str(error))
        return
    os.nice(NICENESS)
    say(ready=True)
    while True:
        try:
            head_bytes, payload_bytes = HEADER.unpack(_read(source, HEADER.size))
            assert head_bytes <= MAX_HEAD_BYTES
            head = json.loads(_read(source, head_bytes))
            pcm = _read(source, payload_bytes)
        except EOFError:
            return
        try:
            text = engine.recognize(pcm, head["language"])
        except Exception as error:  # told to the server, which tells it to its user; the model goes on
            say(number=head["number"], error=f"{type(error).__name__}: {error}")
        else:
            say(number=head["number"], text=text)


def main() -> None:
    """``python -m fastcall.whisper.worker OPTIONS``; the options are JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which then closes the pipe
    options = json.loads(sys.argv[1])
    language = options.pop("language")
    engine = options.pop("engine", None)
    # What libraries print must not get into the pipe.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def make() -> Recognizing:
        if engine is None:
            return Engine(EngineOptions(**options))
        module, _, name = engine.partition(":")
        made: Recognizing = getattr(importlib.import_module(module), name)()
        return made

    serve(make, language, sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
