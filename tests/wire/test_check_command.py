"""`fastcall check`, run as people run it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

import forkserver


def check(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return forkserver.run(
        [sys.executable, "-m", "fastcall", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | environ,
    )


def test_a_server_that_is_down_is_no_go() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/media"
        done = check(url)
        as_json = check(url, "--json", "--audio", "tones")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NO-GO  answered" in done.stdout
    assert "31902: nothing listens at 127.0.0.1:" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NO-GO: ")
    found = json.loads(as_json.stdout)
    assert (as_json.returncode, found["go"]) == (1, False)
    assert {"name": "first response", "answer": "n/a", "detail": "the handler never spoke"} in found["rows"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://localhost/media"], "is not a WebSocket URL"),
        (["ws://localhost:1/media", "--audio", "/nowhere.wav"], "cannot read /nowhere.wav"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], said: str) -> None:
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("fastcall check: ")
