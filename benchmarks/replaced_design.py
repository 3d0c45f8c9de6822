"""The design that fastcall replaces, with its bugs fixed, for comparison.

A ``queue.Queue`` and two threads a call: one collects frames into batches, the other is inside the blocking client of
google-cloud-speech, which takes requests from a generator. The fixed bugs: the generator does not end the
stream at the first 50 ms without audio, the session lasts for the whole call, and its last audio is sent.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import grpc
from google.cloud import speech_v1p1beta1 as speech
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcTransport

__all__ = ["ReplacedSession"]

BATCH_BYTES = 2 * 8 * 150


class ReplacedSession:
    """One call. ``push_audio`` is called by the media loop; ``on_written`` when a request goes to gRPC."""

    def __init__(self, channel: grpc.Channel, on_written: Callable[[], None]) -> None:
        self._client = speech.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
        self._on_written = on_written
        self._frames: queue.Queue[bytes | None] = queue.Queue()
        self._batches: queue.Queue[bytes | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._collect), threading.Thread(target=self._recognize)]
        for thread in self._threads:
            thread.start()

    def push_audio(self, pcm: bytes) -> None:
        """Queue one frame."""
        self._frames.put(pcm)

    def close(self) -> None:
        """End the stream and wait for the threads."""
        self._frames.put(None)
        for thread in self._threads:
            thread.join()

    def _collect(self) -> None:
        waiting = bytearray()
        while (frame := self._frames.get()) is not None:
            waiting += frame
            if len(waiting) >= BATCH_BYTES:
                self._batches.put(bytes(waiting))
                waiting.clear()
        if waiting:
            self._batches.put(bytes(waiting))
        self._batches.put(None)

    def _requests(self) -> Iterator[speech.StreamingRecognizeRequest]:
        while (batch := self._batches.get()) is not None:
            request = speech.StreamingRecognizeRequest(audio_content=batch)
            self._on_written()
            yield request

    def _recognize(self) -> None:
        config = speech.StreamingRecognitionConfig(
            config=speech.RecognitionConfig(encoding=1, sample_rate_hertz=8000, language_code="en-US"),
            interim_results=True,
        )
        for _ in self._client.streaming_recognize(config, self._requests(), retry=None):
            pass
