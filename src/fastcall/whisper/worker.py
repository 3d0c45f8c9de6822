"""The process that holds a Whisper model: utterances come by a pipe, texts go back, one after the other."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Protocol

from fastcall.aio.frames import ParentPipe
from fastcall.errors import UsageError
from fastcall.whisper.engine import Engine, EngineOptions

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


def serve(make: Callable[[], Recognizing], language: str, parent: ParentPipe) -> None:
    """Load, say ``ready`` or why not, then answer until the parent wants no more."""
    try:
        engine = make()
        if engine.lacks(language):
            raise UsageError(
                f"this Whisper model does not have the language {language}: choose a multilingual one (a name without "
                "'.en') in WHISPER_MODEL, or another language in GCP_STT_LANGUAGE"
            )
        engine.warm_up(language)
    except UsageError as error:
        parent.send(refused=str(error))
        return
    os.nice(NICENESS)
    parent.send(ready=True)
    for head, pcm in parent:
        try:
            text = engine.recognize(pcm, head["language"])
        except Exception as error:  # told to the server, which tells it to its user; the model goes on
            parent.send(number=head["number"], error=f"{type(error).__name__}: {error}")
        else:
            parent.send(number=head["number"], text=text)


def main() -> None:
    """``python -m fastcall.whisper.worker OPTIONS``; the options are JSON."""
    options = json.loads(sys.argv[1])
    language = options.pop("language")
    engine = options.pop("engine", None)
    parent = ParentPipe.of_stdio()

    def make() -> Recognizing:
        if engine is None:
            return Engine(EngineOptions(**options))
        module, _, name = engine.partition(":")
        made: Recognizing = getattr(importlib.import_module(module), name)()
        return made

    serve(make, language, parent)


if __name__ == "__main__":
    main()
