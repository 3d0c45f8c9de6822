"""Log and transcript file: written by threads, in order, whole at the end."""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastcall.errors import UsageError
from fastcall.server import output as module
from fastcall.server.output import LogOutput, TranscriptFile


def logged(form: str) -> list[str]:
    stream = io.StringIO()
    output = LogOutput(stream, form)
    logging.getLogger("fastcall.test").info("[CFG] A=%s", True)
    logging.getLogger("fastcall.test").warning("careful")
    logging.getLogger("fastcall.test").debug("unseen")
    output.close()
    assert output.dropped_lines == 0
    return stream.getvalue().splitlines()


def test_information_is_the_bare_line_and_the_rest_bears_its_level() -> None:
    assert logged("text") == ["[CFG] A=True", "WARNING careful"]


def test_json_has_one_object_a_line() -> None:
    first, second = (json.loads(line) for line in logged("json"))
    assert (first["level"], first["message"], second["level"]) == ("INFO", "[CFG] A=True", "WARNING")


FORGED = "no\n\x1b[2J\x9b31m\r🟢 Final: forged"


@pytest.mark.parametrize("form", ["text", "json"])
def test_neither_a_message_nor_an_exception_can_forge_a_line(form: str) -> None:
    stream = io.StringIO()
    output = LogOutput(stream, form)
    try:
        raise RuntimeError(FORGED)
    except RuntimeError:
        log.exception("failed: %s", FORGED, extra={"call": FORGED + "x" * 1000})
    output.close()
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\r" not in text
    first, *more = text.removesuffix("\n").split("\n")
    if form == "text":
        assert first == "ERROR failed: no\\n\\x1b[2J\\x9b31m\\r🟢 Final: forged"
        assert more[0] == "    Traceback (most recent call last):"
        assert all(line.startswith("    ") for line in more)
    else:
        made = json.loads(first)
        assert more == []
        assert made["message"].startswith("failed: no\\n")
        assert len(made["call"]) < 200


def test_lines_of_a_kind_are_limited_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    stream = io.StringIO()
    output = LogOutput(stream)
    for number in range(5900):
        log.warning("message ignored: %d", number, extra={"call": "CA1"})
    log.warning("something else: %d", 1, extra={"call": "CA1"})
    for number in range(100):
        log.info("🟢 Final: %d", number, extra={"call": "CA1"})
    now += 10.0
    log.warning("message ignored: %d", 5900, extra={"call": "CA1"})
    log.warning("message ignored: %d", 5901, extra={"call": "CA1"})
    output.close()
    lines = stream.getvalue().splitlines()
    assert lines[:11] == [f"WARNING message ignored: {n}" for n in range(10)] + ["WARNING something else: 1"]
    assert lines[111:] == [
        "WARNING message ignored: 5900 (5890 more like this were suppressed)",
        "log lines suppressed because there were too many like them: 5891",
    ]


def test_what_people_said_is_for_the_owner_only(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        TranscriptFile(tmp_path / "words").close()
    finally:
        os.umask(old_mask)
    assert (tmp_path / "words").stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_on_the_logger() -> None:
    before = list(logging.getLogger("fastcall").handlers)
    logged("text")
    assert logging.getLogger("fastcall").handlers == before


log = logging.getLogger("fastcall.test")


class Pipe(io.StringIO):
    """Keeps how long writes were; while it is shut, they wait; and some may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_bytes: list[int] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self.entered = threading.Event()
        self.failures: list[Exception] = []

    def write(self, text: str) -> int:
        self.writes_bytes.append(len(text.encode()))
        self.entered.set()
        self.is_open.wait(60)
        if self.failures:
            raise self.failures.pop()
        return super().write(text)


def test_a_crowd_of_lines_is_written_together_and_in_order() -> None:
    pipe = Pipe()
    output = LogOutput(pipe)
    for number in range(5000):
        log.info("%d", number)
    output.close()
    assert pipe.getvalue().split() == [str(number) for number in range(5000)]
    assert len(pipe.writes_bytes) < 500


def test_no_write_is_so_long_that_another_process_may_break_it() -> None:
    pipe = Pipe()
    output = LogOutput(pipe)
    lines = ["🟢" * 60, *["🟡 Partial: one two"] * 900, "x" * 5000, "y"]
    for line in lines:
        log.info(line)
    output.close()
    assert pipe.getvalue().splitlines() == lines
    assert [size for size in pipe.writes_bytes if size > module.LOG_WRITE_BYTES] == [5001]


def test_it_ends_although_it_is_told_so_just_when_it_has_gathered_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    class News(threading.Event):
        def set(self) -> None:
            super().set()
            if of_the_writer[1].is_set():
                news_of_the_end.set()

    class ClosedMeanwhile(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            closing.start()
            assert news_of_the_end.wait(60)
            return False

    pipe = Pipe()
    news_of_the_end, is_written = threading.Event(), queue.SimpleQueue[bool]()
    of_the_writer = [News(), ClosedMeanwhile()]
    made = iter(of_the_writer)
    with monkeypatch.context() as patch:
        patch.setattr(module, "threading", SimpleNamespace(Event=lambda: next(made), Thread=threading.Thread))
        output = LogOutput(pipe)
    closing = threading.Thread(target=lambda: is_written.put(output.close()), daemon=True)
    log.info("last")
    assert is_written.get(timeout=60)
    assert pipe.getvalue() == "last\n"


def test_a_reader_that_stops_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_LINES", 10)
    pipe = Pipe()
    pipe.is_open.clear()
    output = LogOutput(pipe)
    log.info("first")
    assert pipe.entered.wait(60)
    for number in range(25):
        log.info("%d", number)
    assert output.dropped_lines == 16  # with the one that is being written ten wait
    pipe.is_open.set()
    output.close()
    assert pipe.getvalue().split() == ["first", *map(str, range(9))]


def test_a_log_that_cannot_be_written_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = Pipe()
    output = LogOutput(pipe)
    pipe.failures = [BrokenPipeError("nobody reads"), BrokenPipeError("nobody reads")]
    for line in ("lost", "lost too", "written"):
        pipe.entered.clear()
        log.info(line)
        assert pipe.entered.wait(60)
    output.close()
    assert output.dropped_lines == 2
    assert pipe.getvalue() == "written\n"
    assert capsys.readouterr().err == "fastcall: the log cannot be written: nobody reads\n"


def test_where_nobody_can_be_told_lines_are_counted_and_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, gone = Pipe(), Pipe()
    monkeypatch.setattr("sys.stderr", gone)
    gone.failures = [BrokenPipeError("nobody reads this either")]
    output = LogOutput(pipe)
    pipe.failures = [BrokenPipeError("nobody reads")]
    log.info("lost")
    assert gone.entered.wait(60)
    log.info("written")
    output.close()
    assert (output.dropped_lines, pipe.getvalue()) == (1, "written\n")


def test_a_form_that_does_not_fit_its_values_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = Pipe()
    output = LogOutput(pipe)
    log.info("%d", "no number")
    log.info("goes on")
    output.close()
    assert pipe.getvalue() == "goes on\n"
    assert "TypeError" in capsys.readouterr().err


def test_a_terminal_without_unicode_gets_every_line() -> None:
    bytes_out = io.BytesIO()
    output = LogOutput(io.TextIOWrapper(bytes_out, encoding="ascii"))
    log.info("🟢 Final: \u00e9t\u00e9")
    output.close()
    assert bytes_out.getvalue() == b"\\U0001f7e2 Final: \\xe9t\\xe9\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to be had")
def test_transcripts_that_a_disk_does_not_take_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = TranscriptFile("/dev/full")
    file.write("{}\n")
    file.close()
    assert file.dropped_lines == 1
    assert "cannot write transcripts: [Errno 28]" in caplog.text


def test_the_file_is_appended_to_and_whole_after_close(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    for part in ("a", "b"):
        file = TranscriptFile(path)
        for number in range(500):
            file.write(f"{part}{number}\n")
        file.close()
    assert path.read_text().splitlines() == [f"{part}{number}" for part in "ab" for number in range(500)]


def test_a_call_whose_name_is_no_text_costs_no_other_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    file = TranscriptFile(path)
    for name in ("CA1", "CA\ud800", "CA2"):
        file.write(json.dumps({"call_sid": name}, ensure_ascii=False) + "\n")
    file.close()
    assert [json.loads(line)["call_sid"] for line in path.read_text().splitlines()] == ["CA1", "CA\ud800", "CA2"]
    assert file.dropped_lines == 0


def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write transcripts"):
        TranscriptFile(tmp_path / "no" / "such" / "folder")
