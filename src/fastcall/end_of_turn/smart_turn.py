"""The adapter for Smart Turn v3, and the only module that uses onnxruntime. Runs in the worker process.

Smart Turn judges the sound alone: a Whisper encoder with a classifier over the newest 8 s. It does not read the text.

Source: https://github.com/pipecat-ai/smart-turn (BSD-2-Clause)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastcall.errors import UsageError

__all__ = ["SmartTurnModel", "check_model_file"]

_INPUT: Final = "input_features"
_HOW: Final = (
    "name Smart Turn's file, such as smart-turn-v3.2-cpu.onnx (https://huggingface.co/pipecat-ai/smart-turn-v3), or "
    "module:callable for a model of your own"
)


def check_model_file(path: str) -> None:
    """Check ``path``, as far as possible before loading it.

    :raises UsageError: there is no such file
    """
    if not Path(path).is_file():
        raise UsageError(f"TURN_MODEL={path}: there is no such file; {_HOW}")


class SmartTurnModel:
    """A loaded model; call it for probabilities. One thread.

    :param path: of the ONNX file
    :raises UsageError: it cannot be loaded; the message says what to do
    """

    def __init__(self, path: str) -> None:
        check_model_file(path)
        try:
            import onnxruntime

            from fastcall.audio.upsampling import to_16k
            from fastcall.end_of_turn.log_mel import FRAMES, MELS, log_mel
        except ImportError as error:
            raise UsageError(
                f"TURN_MODEL={path} needs onnxruntime and numpy: pip install 'fastcall[end-of-turn]' ({error})"
            ) from error
        self._to_16k, self._log_mel = to_16k, log_mel
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many types, which have no common base
            raise UsageError(f"TURN_MODEL={path} cannot be loaded: {_line(error)}; {_HOW}") from error
        inputs = {each.name: list(each.shape) for each in session.get_inputs()}
        if list(inputs) != [_INPUT] or inputs[_INPUT][1:] != [MELS, FRAMES]:
            raise UsageError(
                f"TURN_MODEL={path} is not Smart Turn v3: its inputs are {inputs}, not {_INPUT} with {MELS} x {FRAMES} "
                f"values; {_HOW}"
            )
        self._session = session

    def __call__(self, pcm: bytes, text: str) -> float:
        """The probability that the turn is over, from the newest 8 s of LINEAR16 at 8 kHz."""
        features = self._log_mel(self._to_16k(pcm))
        (probabilities, *_) = self._session.run(None, {_INPUT: features[None]})
        return float(probabilities.item())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
