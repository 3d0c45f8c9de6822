"""What is given to run it with, judged by the tools that will read it. Each is skipped where its tool is not: hadolint
comes with the `dev` extra, nginx and systemd from the system."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from house import ROOT

DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """Where the program is; the test is skipped without it."""
    places = [str(Path(sys.executable).parent), "/usr/sbin", "/usr/bin", "/usr/local/bin"]
    found = shutil.which(name, path=":".join(places)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_image():
    assert run(tool("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Dockerfile")) == ""


def test_the_image_gets_what_it_copies():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_the_unit(tmp_path):
    unit = (DEPLOY / "fastcall.service").read_text()
    program = str(Path(sys.executable).parent / "fastcall")
    assert "ExecStart=/opt/fastcall/bin/fastcall serve" in unit
    copy = tmp_path / "fastcall.service"
    copy.write_text(unit.replace("/opt/fastcall/bin/fastcall", program))
    assert run(tool("systemd-analyze"), "verify", "--man=no", str(copy)) == ""


def test_the_units_command_is_understood():
    line = next(
        each for each in (DEPLOY / "fastcall.service").read_text().splitlines() if each.startswith("ExecStart=")
    )
    done = subprocess.run(
        [sys.executable, "-m", "fastcall", *line.split()[1:], "--max-calls", "0"],
        env={"SPEECH_EMULATOR_HOST": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "fastcall serve: --max-calls 0: must be at least 1\n")


def test_the_proxy(tmp_path):
    nginx = tool("nginx")
    conf = (DEPLOY / "nginx.conf").read_text()
    data = ROOT / "tests" / "data"
    conf = conf.replace("/etc/letsencrypt/live/voice.example.com/fullchain.pem", str(data / "localhost.pem"))
    conf = conf.replace("/etc/letsencrypt/live/voice.example.com/privkey.pem", str(data / "localhost-key.pem"))
    conf = f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\n" + conf.replace("http {", "http {\n    access_log off;", 1)
    copy = tmp_path / "nginx.conf"
    copy.write_text(conf)
    assert "test is successful" in run(nginx, "-t", "-c", str(copy), "-p", str(tmp_path))
