"""Log and transcript file: written by threads, in order, whole at the end."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from fastcall.adapters.output import LogOutput, TranscriptFile
from fastcall.errors import UsageError


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


def test_nothing_is_left_on_the_logger() -> None:
    before = list(logging.getLogger("fastcall").handlers)
    logged("text")
    assert logging.getLogger("fastcall").handlers == before


def test_the_file_is_appended_to_and_whole_after_close(tmp_path: Path) -> None:
    path = tmp_path / "calls.ndjson"
    for part in ("a", "b"):
        file = TranscriptFile(path)
        for number in range(500):
            file.write(f"{part}{number}\n")
        file.close()
    assert path.read_text().splitlines() == [f"{part}{number}" for part in "ab" for number in range(500)]


def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write transcripts"):
        TranscriptFile(tmp_path / "no" / "such" / "folder")
