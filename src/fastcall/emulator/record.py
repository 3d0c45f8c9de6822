"""Records streams on disk: the audio as WAV, the messages as JSON lines. Only if the user enables it."""

from __future__ import annotations

import json
import logging
import os
import wave
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from fastcall.emulator.messages import AudioRequest, ConfigRequest, Request, Response, Status
from fastcall.errors import UsageError

__all__ = ["Recorder", "StreamRecord"]

log = logging.getLogger("fastcall.emulator")


def _create(path: Path) -> Path:
    """Create a file that only its owner may read, because it will contain what people said."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


class StreamRecord:
    """The files of one stream. Written through small buffers on the event loop: a debugging aid, not a hot path.

    On disk errors, the recording ends with a line in the log and the stream continues.
    """

    def __init__(self, base: Path, *, opened: float) -> None:
        self._base = base
        self._opened = opened
        self._messages: TextIO | None = _create(base.with_suffix(".jsonl")).open("w", encoding="utf-8")
        self._wave: wave.Wave_write | None = None

    def request(self, request: Request, *, now: float) -> None:
        match request:
            case ConfigRequest(config):
                self._open_wave(config.sample_rate_hertz)
                self._write(now, "config", asdict(config))
            case AudioRequest(audio):
                self._write(now, "audio_bytes", len(audio))
            case _:
                self._write(now, "refused", type(request).__name__)

    def half_close(self, *, now: float) -> None:
        self._write(now, "half_close", True)

    def audio(self, pcm: NDArray[np.int16]) -> None:
        if self._wave is not None:
            try:
                self._wave.writeframesraw(pcm.astype("<i2").tobytes())
            except OSError as error:
                self._give_up(error)

    def response(self, response: Response, *, now: float) -> None:
        known = {name: value for name, value in asdict(response).items() if value not in ((), None, 0.0)}
        self._write(now, "response", known)

    def status(self, status: Status, *, now: float) -> None:
        self._write(now, "status", {"code": status.code.name, "message": status.message})

    def fault(self, kind: str, *, now: float) -> None:
        self._write(now, "fault", kind)

    def close(self) -> None:
        """May be called more than once."""
        messages, self._messages = self._messages, None
        audio, self._wave = self._wave, None
        try:
            if messages is not None:
                messages.close()
            if audio is not None:
                audio.close()
        except OSError as error:
            log.error("recording %s failed: %s", self._base, error)

    def _open_wave(self, rate: int) -> None:
        if self._wave is not None or not 8000 <= rate <= 48_000:
            return
        try:
            self._wave = wave.open(str(_create(self._base.with_suffix(".wav"))), "wb")
            self._wave.setnchannels(1)
            self._wave.setsampwidth(2)
            self._wave.setframerate(rate)
        except OSError as error:
            self._give_up(error)

    def _write(self, now: float, kind: str, value: Any) -> None:
        if self._messages is None:
            return
        try:
            self._messages.write(json.dumps({"t": round(now - self._opened, 4), kind: value}) + "\n")
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.error("recording %s stopped: %s", self._base, error)
        self.close()


class Recorder:
    """Creates the recordings of a server's streams in one directory."""

    def __init__(self, directory: str, *, started: str) -> None:
        """`started` is the prefix of all file names, and distinguishes the server's runs.

        Raises UsageError if the directory cannot be created.
        """
        self._directory = Path(directory)
        self._started = started
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot record to {directory}: {error.strerror}") from error

    def open(self, number: int, version: str, *, now: float) -> StreamRecord | None:
        """The recording of a stream; None, with a line in the log, on disk errors."""
        try:
            return StreamRecord(self._directory / f"{self._started}-{number:06d}-{version}", opened=now)
        except OSError as error:
            log.error("cannot record stream %d: %s", number, error)
            return None
