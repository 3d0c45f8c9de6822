"""What leaves the process: log lines and the transcript file, written by threads of their own.

The event loop never waits for a disk or a pipe: it appends to a bounded queue; if a reader of the log stops, lines are
dropped and counted, calls go on.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from fastcall.errors import UsageError
from fastcall.rules.records import MAX_FIELD_CHARS, escaped
from fastcall.rules.throttle import LineLimits, kind_of

__all__ = ["LogOutput", "TranscriptFile"]

MAX_WAITING_LINES = 100_000
GATHER_S = 0.02
# Nobody waits longer for the last lines to be read, or written.
CLOSE_TIMEOUT_S = 2.0
# Processes that share a pipe do not break each other's lines as long as no write is longer (POSIX, write()).
LOG_WRITE_BYTES = select.PIPE_BUF
FILE_WRITE_BYTES = 64 * 1024


class _LineWriter:
    """A thread that writes lines, many at once. Its owner ends it by ``close``.

    :param write: writes lines, with their newlines, and brings them where they go
    :param limit_bytes: of one write, in UTF-8, if it is of more than one line
    :param failed: is told, by the thread, why lines were dropped
    """

    def __init__(
        self, name: str, write: Callable[[str], None], *, limit_bytes: int, failed: Callable[[Exception], None]
    ) -> None:
        self._write = write
        self._limit_bytes = limit_bytes
        self._failed = failed
        self._waiting: deque[str] = deque()
        self._news = threading.Event()
        self._closing = threading.Event()
        # Each has one thread that adds to it.
        self._refused = 0
        self._unwritten = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that did not fit, or could not be written."""
        return self._refused + self._unwritten

    def add(self, line: str) -> None:
        """Queue one line, newline included. Any thread; returns at once."""
        if len(self._waiting) >= MAX_WAITING_LINES:
            self._refused += 1
            return
        self._waiting.append(line)
        if not self._news.is_set():
            self._news.set()

    def close(self) -> bool:
        """Write what waits and end the thread.

        :return: whether it ended; one that cannot write, because nobody reads, is left behind after a while
        """
        self._closing.set()
        self._news.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        closing = False
        while not closing:
            self._news.wait()
            # Lines come in crowds: to wake for each, and take the interpreter from the loop, costs more than the line.
            self._closing.wait(GATHER_S)
            self._news.clear()  # before all else is looked at: what comes now wakes this thread again
            closing = self._closing.is_set()
            while self._waiting:
                self._write_some()

    def _write_some(self) -> None:
        lines = [self._waiting.popleft()]
        room = self._limit_bytes - _bytes_of(lines[0])
        while self._waiting and (size := _bytes_of(self._waiting[0])) <= room:
            lines.append(self._waiting.popleft())
            room -= size
        try:
            self._write("".join(lines))
        except (OSError, ValueError) as error:
            self._unwritten += len(lines)
            self._failed(error)


def _bytes_of(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode(errors="backslashreplace"))


class _LineHandler(logging.Handler):
    """Makes each record a line, and gives it to ``add``."""

    def __init__(self, add: Callable[[str], None]) -> None:
        super().__init__()
        self._add = add
        self.limits = LineLimits()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._may_pass(record):
                self._add(self.format(record) + "\n")
        except Exception:
            self.handleError(record)  # logging's own way: a form that does not fit its values ends no call

    def _may_pass(self, record: logging.LogRecord) -> bool:
        """INFO is what the server says of itself and of transcripts; what is above it, strangers may have caused."""
        if record.levelno <= logging.INFO:
            return True
        kind, call = kind_of(record.getMessage()), getattr(record, "call", None)
        held_back = self.limits.passes(kind, str(call or ""), now=time.monotonic())
        record.held_back = held_back
        return held_back is not None


class _Formatter(logging.Formatter):
    """What was said, sent or raised cannot forge a line, nor speak to the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # kept by logging for all formatters; others' is not ours, and ours not theirs
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatMessage(self, record: logging.LogRecord) -> str:
        more = getattr(record, "held_back", 0)
        return escaped(super().formatMessage(record)) + (f" ({more} more of this kind are not shown)" if more else "")

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return "\n".join("    " + escaped(line, keep="\t") for line in lines)


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno == logging.INFO else f"{record.levelname} {message}"


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        call = getattr(record, "call", None)
        return json.dumps(
            {
                "at": record.created,
                "level": record.levelname,
                "logger": record.name,
                "call": call if call is None else escaped(str(call)[:MAX_FIELD_CHARS]),
                "message": super().format(record),
            },
            ensure_ascii=False,
        )


class LogOutput:
    """Sends the log to ``stream`` by a thread. Owner of that thread; ``close`` writes what waits.

    :param form: ``text`` (the exact lines, other levels with their name before) or ``json``
    """

    def __init__(self, stream: TextIO, form: str = "text") -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode still gets every line

        def write(lines: str) -> None:
            stream.write(lines)
            stream.flush()

        self._writer = _LineWriter("fastcall-log", write, limit_bytes=LOG_WRITE_BYTES, failed=self._failed)
        self._handler = _LineHandler(self._writer.add)
        self._handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
        self._has_failed = False
        self._logger = logging.getLogger("fastcall")
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False

    @property
    def dropped_lines(self) -> int:
        """Lines that did not fit because the reader was too slow, or could not be written."""
        return self._writer.dropped

    def close(self) -> bool:
        """Write what waits and end the thread.

        :return: whether all is written; if not, the thread holds the stream, and the interpreter cannot end in order
        """
        if held_back := self._handler.limits.held_back_in_all:
            self._logger.info("log lines that were not shown, as there were too many of their kinds: %d", held_back)
        self._logger.removeHandler(self._handler)
        self._logger.propagate = True
        return self._writer.close()

    def _failed(self, error: Exception) -> None:
        if not self._has_failed and sys.stderr is not None:
            self._has_failed = True
            with contextlib.suppress(OSError, ValueError):  # then there is nobody left to be told
                sys.stderr.write(f"fastcall: the log cannot be written: {error}\n")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class TranscriptFile:
    """Appends lines to a file by a thread. ``write`` is for the loop's thread, and returns at once.

    :raises UsageError: the file cannot be opened
    """

    def __init__(self, path: str | Path) -> None:
        try:
            # What people said is for the owner's eyes; a file that is there keeps the mode that it was given.
            self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_open_private)
        except OSError as error:
            raise UsageError(f"cannot write transcripts to {path}: {error.strerror}") from error
        self._writer = _LineWriter(
            "fastcall-transcripts", self._write, limit_bytes=FILE_WRITE_BYTES, failed=self._failed
        )

    @property
    def dropped_lines(self) -> int:
        """Lines that did not fit because the disk was too slow, or could not be written."""
        return self._writer.dropped

    def write(self, line: str) -> None:
        """Queue one line, newline included; dropped and counted when the disk is 100,000 lines behind."""
        self._writer.add(line)

    def close(self) -> None:
        """Write what waits, close the file, end the thread."""
        self._writer.close()
        try:
            self._file.close()
        except OSError as error:  # what a full disk had not taken is tried once more
            self._failed(error)

    def _write(self, lines: str) -> None:
        self._file.write(lines)
        self._file.flush()

    def _failed(self, error: Exception) -> None:
        logging.getLogger("fastcall").error("cannot write transcripts: %s", error)
