"""What leaves the process: log lines and the transcript file, written by threads of their own.

The event loop never waits for a disk or a pipe: it appends to a bounded queue; if a reader of the log stops, lines are
dropped and counted, calls go on.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import threading
from pathlib import Path
from typing import TextIO

from fastcall.errors import UsageError

__all__ = ["LogOutput", "TranscriptFile"]

MAX_WAITING_LINES = 100_000


class _BoundedQueueHandler(logging.handlers.QueueHandler):
    """Drops and counts what does not fit, instead of printing a traceback for each line."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno == logging.INFO else f"{record.levelname} {message}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "at": record.created,
                "level": record.levelname,
                "logger": record.name,
                "call": getattr(record, "call", None),
                "message": super().format(record),
            },
            ensure_ascii=False,
        )


class LogOutput:
    """Sends the log to ``stream`` by a thread. Owner of that thread; ``close`` writes what waits.

    :param form: ``text`` (the exact lines, other levels with their name before) or ``json``
    """

    def __init__(self, stream: TextIO, form: str = "text") -> None:
        lines: queue.Queue[logging.LogRecord] = queue.Queue(MAX_WAITING_LINES)
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
        self._enqueue = _BoundedQueueHandler(lines)
        self._listener = logging.handlers.QueueListener(lines, handler)
        self._logger = logging.getLogger("fastcall")
        self._logger.addHandler(self._enqueue)
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._listener.start()

    @property
    def dropped_lines(self) -> int:
        """Lines that did not fit because the reader was too slow."""
        return self._enqueue.dropped

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._logger.removeHandler(self._enqueue)
        self._logger.propagate = True
        self._listener.stop()


class TranscriptFile:
    """Appends lines to a file by a thread. ``write`` is for the loop's thread, and returns at once.

    :raises UsageError: the file cannot be opened
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = open(path, "a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write transcripts to {path}: {error.strerror}") from error
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self.dropped_lines = 0
        self._thread = threading.Thread(target=self._run, name="fastcall-transcripts", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line, newline included; dropped and counted when the disk is 100,000 lines behind."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped_lines += 1

    def close(self) -> None:
        """Write what waits, close the file, end the thread."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        with self._file:
            while (line := self._lines.get()) is not None:
                try:
                    self._file.write(line)
                    if self._lines.empty():
                        self._file.flush()
                except OSError as error:
                    self.dropped_lines += 1
                    logging.getLogger("fastcall").error("cannot write transcripts: %s", error)
