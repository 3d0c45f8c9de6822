"""What turns audio into words, behind the port in `base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcall.errors import UsageError

if TYPE_CHECKING:
    from fastcall.adapters.emulator.engines.base import Engine
    from fastcall.adapters.emulator.options import Options

__all__ = ["make_engine"]


def make_engine(options: Options) -> Engine:
    """The engine that the options name; its packages are imported only here."""
    if options.engine == "tones":
        from fastcall.adapters.emulator.engines.tones import TonesEngine

        return TonesEngine(end_silence_s=options.end_silence_s, max_utterance_s=options.max_utterance_s)
    raise UsageError(f"there is no engine {options.engine!r}; choose pocketsphinx, tones or script")
