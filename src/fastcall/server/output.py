"""Output of the process: log lines and the transcript file, each written by its own thread.

The event loop never waits for a disk or a pipe: it appends to a bounded queue. If a reader of the log stops, lines are
dropped and counted, and calls continue.
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

from fastcall.aio.log_throttle import LineLimits, kind_of
from fastcall.errors import UsageError
from fastcall.formats import MAX_FIELD_CHARS, escaped

__all__ = ["LogOutput", "TranscriptFile"]

MAX_WAITING_LINES = 100_000
GATHER_S = 0.02
# The longest wait for the last lines to be read or written.
CLOSE_TIMEOUT_S = 2.0
# Writes up to this size are atomic, so processes that share a pipe do not split each other's lines (POSIX, write()).
LOG_WRITE_BYTES = select.PIPE_BUF
FILE_WRITE_BYTES = 64 * 1024
# Transcripts are readable by the owner only; an existing file keeps its mode.
FILE_MODE = 0o600
# A full disk may have space again.
RETRY_S = 1.0

log = logging.getLogger("fastcall")


class _LineWriter:
    """A thread that writes lines, many at once; ended by ``close``.

    :param write: writes and flushes lines, which have their newlines
    :param limit_bytes: size limit of a write of more than one line, in UTF-8
    :param failed: called by the thread with the reason when lines could not be written
    :param retry_s: delay before failed lines are written again, until they succeed; None: never
    :param reopen: called by the thread between two writes, after ``reopen``
    """

    def __init__(
        self,
        name: str,
        write: Callable[[str], None],
        *,
        limit_bytes: int,
        failed: Callable[[Exception], None],
        retry_s: float | None = None,
        reopen: Callable[[], None] = lambda: None,
    ) -> None:
        self._write = write
        self._limit_bytes = limit_bytes
        self._failed = failed
        self._retry_s = retry_s
        self._reopen = reopen
        self._is_to_reopen = False
        self._waiting: deque[str] = deque()
        self._news = threading.Event()
        self._closing = threading.Event()
        # Each is incremented by one thread only.
        self._refused = 0
        self._unwritten = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Lines not written yet."""
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        """Lines that did not fit or could not be written."""
        return self._refused + self._unwritten

    def add(self, line: str) -> None:
        """Queue one line, newline included. Any thread; returns at once."""
        if len(self._waiting) >= MAX_WAITING_LINES:
            self._refused += 1
            return
        self._waiting.append(line)
        if not self._news.is_set():
            self._news.set()

    def reopen(self) -> None:
        """Make the thread call ``reopen`` soon. Any thread."""
        self._is_to_reopen = True
        self._news.set()

    def close(self) -> bool:
        """Write the remaining lines and end the thread.

        :return: whether it ended; a thread that is blocked, because nobody reads, is abandoned after a while
        """
        self._closing.set()
        self._news.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        closing = False
        while not closing:
            self._news.wait()
            # Lines come in batches: waking for each, and taking the GIL from the loop, costs more than the line.
            self._closing.wait(GATHER_S)
            self._news.clear()  # cleared first: a line that arrives from here on wakes this thread again
            closing = self._closing.is_set()
            self._reopen_if_asked()
            while self._waiting:
                self._write_some()

    def _reopen_if_asked(self) -> None:
        if self._is_to_reopen:
            self._is_to_reopen = False
            self._reopen()

    def _write_some(self) -> None:
        # They stay in the queue until written, because the queue's limit bounds them.
        count, room = 1, self._limit_bytes - _bytes_of(self._waiting[0])
        while count < len(self._waiting) and (size := _bytes_of(self._waiting[count])) <= room:
            room -= size
            count += 1
        lines = "".join(self._waiting[index] for index in range(count))  # an iterator would fail when others append
        while not self._has_written(lines):
            if self._retry_s is None or self._closing.is_set():
                if self._retry_s is not None:
                    count = len(self._waiting)  # in order, or not at all
                self._unwritten += count
                break
            self._closing.wait(self._retry_s)
            self._reopen_if_asked()
        for _ in range(count):
            self._waiting.popleft()

    def _has_written(self, lines: str) -> bool:
        try:
            self._write(lines)
        except (OSError, ValueError) as error:
            self._failed(error)
            return False
        return True


def _bytes_of(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode(errors="backslashreplace"))


class _LineHandler(logging.Handler):
    """Formats each record as a line and passes it to ``add``."""

    def __init__(self, add: Callable[[str], None]) -> None:
        super().__init__()
        self._add = add
        self.limits = LineLimits()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._may_pass(record):
                self._add(self.format(record) + "\n")
        except Exception:
            self.handleError(record)  # as logging does: a format that does not match its arguments ends no call

    def _may_pass(self, record: logging.LogRecord) -> bool:
        """Throttled above INFO only: strangers may cause warnings and errors, but not INFO lines."""
        if record.levelno <= logging.INFO:
            return True
        kind = kind_of(record.getMessage())
        stream = getattr(record, "stream", None) or getattr(record, "call", None)
        held_back = self.limits.passes(kind, str(stream or ""), now=time.monotonic())
        record.held_back = held_back
        return held_back is not None


class _Formatter(logging.Formatter):
    """Speech, input and exceptions can neither forge a line nor send control sequences to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # logging caches it for all formatters, but ours differs
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatMessage(self, record: logging.LogRecord) -> str:
        more = getattr(record, "held_back", 0)
        return escaped(super().formatMessage(record)) + (f" ({more} more like this were suppressed)" if more else "")

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
    """Writes the log to ``stream`` by a thread, which it owns; ``close`` writes the remaining lines.

    :param form: ``text`` (INFO lines as they are, other levels with their name before) or ``json``
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
        """Write the remaining lines and end the thread.

        :return: whether all is written; if not, the thread holds the stream, and the interpreter cannot exit normally
        """
        if held_back := self._handler.limits.held_back_in_all:
            self._logger.info("log lines suppressed because there were too many like them: %d", held_back)
        self._logger.removeHandler(self._handler)
        self._logger.propagate = True
        return self._writer.close()

    def _failed(self, error: Exception) -> None:
        if not self._has_failed and sys.stderr is not None:
            self._has_failed = True
            with contextlib.suppress(OSError, ValueError):  # nowhere left to report it
                sys.stderr.write(f"fastcall: the log cannot be written: {error}\n")


class TranscriptFile:
    """Appends lines to a file by a thread. Call ``write`` on the loop's thread; it does not block.

    Lines that cannot be written because the disk is full are kept and written again later, 100,000 at most.

    :raises UsageError: the file cannot be opened
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise UsageError(f"cannot write transcripts to {path}: {error.strerror}") from error
        self._lines = b""
        self._written = 0
        self.trouble = ""
        """Why lines cannot be written; empty if they can. Any thread."""
        self._writer = _LineWriter(
            "fastcall-transcripts",
            self._write,
            limit_bytes=FILE_WRITE_BYTES,
            failed=self._failed,
            retry_s=RETRY_S,
            reopen=self._reopen,
        )

    @property
    def dropped_lines(self) -> int:
        """Lines that did not fit because the disk was full or too slow."""
        return self._writer.dropped

    @property
    def waiting_lines(self) -> int:
        """Lines not written yet."""
        return self._writer.waiting

    def write(self, line: str) -> None:
        """Queue one line, newline included; it is dropped and counted if 100,000 lines wait already."""
        self._writer.add(line)

    def reopen(self) -> None:
        """Continue in a new file of the same name: the old one was renamed. Any thread; returns at once."""
        self._writer.reopen()

    def close(self) -> None:
        """Write the remaining lines, close the file, end the thread."""
        if not self._writer.close():
            log.error("cannot write transcripts: the disk does not respond; %d lines are lost", self._writer.waiting)
            return
        if self.dropped_lines:
            log.error("transcripts: %d lines were dropped", self.dropped_lines)
        try:
            os.close(self._descriptor)
        except OSError as error:  # a network file system may report write errors only now
            self._failed(error)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def _reopen(self) -> None:
        try:
            descriptor = self._open()
        except OSError as error:
            log.error("cannot reopen %s, continuing in the old file: %s", self._path, error.strerror)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        # A line that a full disk cut off is written to the new file from its start.
        self._written = self._lines.rfind(b"\n", 0, self._written) + 1
        log.info("transcripts continue in a new file: %s", self._path)

    def _write(self, lines: str) -> None:
        # A disk that fills up takes a part: only the rest is written again.
        self._lines = self._lines or lines.encode(errors="backslashreplace")
        while self._written < len(self._lines):
            self._written += os.write(self._descriptor, self._lines[self._written :])
        self._lines, self._written = b"", 0
        if self.trouble:
            self.trouble = ""
            log.info("transcripts can be written again; lines dropped so far: %d", self.dropped_lines)

    def _failed(self, error: Exception) -> None:
        if not self.trouble:
            log.error("cannot write transcripts: %s", error)
        self.trouble = f"transcripts cannot be written: {error.strerror if isinstance(error, OSError) else error}"
