"""webrtcvad as the voice detector.

The package's C function does the work; its Python wrappers cost another quarter, and need a ``bytes`` per frame. So a
detector also provides the addresses of the function and its state, for callers in C (``fastcall.ports.VoiceDetector``).
The function is looked up by its exported name in the package's extension module, and only used if its results match
the method's; otherwise the method is used.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from functools import cache

import _webrtcvad
import webrtcvad

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["WebRtcVoiceDetector"]

FRAME_SAMPLES = 160


class WebRtcVoiceDetector:
    """One call's detector: it learns that call's noise floor. Not thread-safe; holds the GIL (about 1 us per frame).

    :param mode: aggressiveness, from 0 (most sounds count as voice) to 3 (fewest)
    """

    def __init__(self, mode: int = 2) -> None:
        self._vad = webrtcvad.Vad(mode)
        function = _native_function()
        self.native = (function, _state_of(self._vad)) if function is not None else None
        """Addresses of the C function and of this detector's state, or None; see the port."""

    def is_speech(self, pcm: bytes) -> bool:
        """``pcm``: 320 bytes, 20 ms of LINEAR16 at 8 kHz; webrtcvad raises its own ``Error`` for other lengths."""
        return bool(self._vad.is_speech(pcm, SAMPLE_RATE_HZ))


def _state_of(vad: webrtcvad.Vad) -> int:
    """The address of the detector's state, which ``vad`` owns.

    :raises ValueError: webrtcvad stores it differently
    """
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get_pointer(vad._vad, b"WebRtcVadPtr"))


@cache
def _native_function() -> int | None:
    """The address of ``int WebRtcVad_Process(VadInst *, int, const int16_t *, size_t)``, or None."""
    try:
        function = ctypes.CDLL(_webrtcvad.__file__).WebRtcVad_Process
        function.restype = ctypes.c_int
        function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        return ctypes.cast(function, ctypes.c_void_p).value if _answers_alike(function) else None
    except (AttributeError, OSError, ValueError):
        return None


def _answers_alike(function: Callable[[int, int, bytes, int], int]) -> bool:
    """Whether the function's results for silence and tones match the method's."""
    by_method, by_function = webrtcvad.Vad(2), webrtcvad.Vad(2)
    state = _state_of(by_function)
    for loudness in (0, 8000, 8000, 200, 20000, 0, 0):
        wave = (int(loudness * math.sin(n * n / 40)) for n in range(FRAME_SAMPLES))
        pcm = struct.pack(f"<{FRAME_SAMPLES}h", *wave)
        if function(state, SAMPLE_RATE_HZ, pcm, FRAME_SAMPLES) != int(by_method.is_speech(pcm, SAMPLE_RATE_HZ)):
            return False
    return True
