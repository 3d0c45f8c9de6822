"""webrtcvad as the voice detector."""

from __future__ import annotations

import webrtcvad

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["WebRtcVoiceDetector"]


class WebRtcVoiceDetector:
    """One call's detector: it learns that call's noise floor. Not thread-safe; holds the GIL (about 2 us a frame).

    :param mode: 0 (takes most for voice) to 3 (takes least)
    """

    def __init__(self, mode: int = 2) -> None:
        self._vad = webrtcvad.Vad(mode)

    def is_speech(self, pcm: bytes) -> bool:
        """``pcm``: 320 bytes, 20 ms of LINEAR16 at 8 kHz; webrtcvad raises its own ``Error`` for other lengths."""
        return bool(self._vad.is_speech(pcm, SAMPLE_RATE_HZ))
