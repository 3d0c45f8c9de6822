"""Engines turn audio into words, behind the interface in `base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcall.errors import UsageError

if TYPE_CHECKING:
    from fastcall.emulator.engines.base import Engine
    from fastcall.emulator.options import Options

__all__ = ["make_engine"]


def make_engine(options: Options) -> Engine:
    """The engine that the options name. Raises UsageError if it is not available."""
    # Imported here, only the one needed: tones works without PocketSphinx.
    if options.engine == "tones":
        from fastcall.emulator.engines.tones import TonesEngine

        return TonesEngine(end_silence_s=options.end_silence_s, max_utterance_s=options.max_utterance_s)
    if options.engine == "script":
        from fastcall.emulator.engines.script import ScriptEngine, parse_script
        from fastcall.emulator.files import read_yaml

        if options.script is None:
            raise UsageError("the script engine needs a file of texts and times: --script FILE")
        return ScriptEngine(read_yaml(options.script, parse_script), end_silence_s=options.end_silence_s)
    if options.engine == "pocketsphinx":
        try:
            from fastcall.emulator.engines.pocketsphinx import PocketsphinxEngine
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the pocketsphinx engine needs the package {error.name}: pip install 'fastcall[emulator]' "
                "(if it has no wheel for this Python, use --engine tones)"
            ) from error
        return PocketsphinxEngine(options)
    raise UsageError(f"unknown engine {options.engine!r}; choose pocketsphinx, tones or script")
