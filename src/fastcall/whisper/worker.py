"""The process that runs a Whisper model: receives utterances over a pipe and returns texts, one at a time."""

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

# Audio of live calls has priority over recognition by the fallback.
NICENESS = 5


class Recognizing(Protocol):
    """Serves requests: ``Engine``, or a replacement in tests."""

    def lacks(self, language: str) -> bool:
        """Whether it does not support this language (BCP 47)."""

    def recognize(self, pcm: bytes, language: str) -> str:
        """The words in LINEAR16 at 8 kHz."""

    def warm_up(self, language: str) -> None:
        """Load what would otherwise be loaded on first use."""


def serve(make: Callable[[], Recognizing], language: str, parent: ParentPipe) -> None:
    """Load the model, send ``ready`` or the reason why not, then serve requests until the parent closes the pipe."""
    try:
        engine = make()
        if engine.lacks(language):
            raise UsageError(
                f"this Whisper model does not support the language {language}: choose a multilingual one (a name "
                "without '.en') in WHISPER_MODEL, or another language in GCP_STT_LANGUAGE"
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
        except Exception as error:  # sent to the server, which reports it; the model keeps serving
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
