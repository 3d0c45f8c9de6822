"""What is given to run it with, judged by the tools that will read it. Each is skipped where its tool is not: hadolint
comes with the `dev` extra, nginx and systemd from the system."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fastcall.cli import serve
from fastcall.server import app, http, output
from fastcall.server import sniffer as front
from fastcall.server.call_manager import SHUTDOWN_S
from fastcall.server.options import ServeOptions
from fastcall.server.workers import handle
from fastcall.settings import Settings
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


def setting(name: str) -> str:
    """What the unit sets it to."""
    [value] = re.findall(rf"^{name}=(.*)$", (DEPLOY / "fastcall.service").read_text(), re.MULTILINE)
    return str(value)


# What comes after the drain: last words, what handlers leave behind, the last lines of log and transcripts.
AFTER_DRAIN_S = app.STOP_TIMEOUT_S + app.LEFTOVERS_TIMEOUT_S + 2 * output.CLOSE_TIMEOUT_S


def test_a_worker_may_end_before_it_is_killed() -> None:
    own_s = SHUTDOWN_S + app.LEFTOVERS_TIMEOUT_S + output.CLOSE_TIMEOUT_S
    assert own_s < handle.STOP_TIMEOUT_S < app.STOP_TIMEOUT_S


def test_the_units_times_agree_with_the_servers() -> None:
    drain = re.search(r"--drain-timeout (\d+)", setting("ExecStart"))
    assert drain is not None
    assert float(setting("TimeoutStopSec")) > float(drain[1]) + AFTER_DRAIN_S
    assert float(setting("TimeoutStartSec")) > handle.START_TIMEOUT_S
    assert setting("Type") == "notify"
    assert setting("OOMPolicy") == "continue"  # else one worker that is killed takes all with it
    assert setting("ExecReload").split()[1] == "-HUP"
    assert setting("Environment") == f"GOOGLE_APPLICATION_CREDENTIALS=%d/{setting('LoadCredential').partition(':')[0]}"


def test_the_images_times_and_ports_agree_with_the_servers() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stop = re.search(r"--stop-timeout (\d+)", text)
    assert stop is not None
    assert float(stop[1]) > ServeOptions().drain_timeout_s + AFTER_DRAIN_S
    assert f"FASTCALL_PORT={serve.DEFAULT_PORT}" in text
    assert f"EXPOSE {serve.DEFAULT_PORT}" in text
    [check] = re.findall(r"^HEALTHCHECK .*\n +CMD (\[.*\])$", text, re.MULTILINE)
    compile(code := json.loads(check)[2], "the health check", "exec")
    assert 'os.environ["FASTCALL_PORT"]' in code
    assert "STOPSIGNAL SIGTERM" in text


def test_the_unit_bounds_memory_and_watches_the_loop() -> None:
    assert re.fullmatch(r"[1-9]\d%", setting("MemoryMax"))  # of the machine's: a number of bytes would fit no other
    # It has no less patience with the first process than that has with its workers.
    assert float(setting("WatchdogSec")) > Settings().worker_timeout_s
    assert setting("NotifyAccess") == "main"
    assert setting("Restart") == "always"


def test_the_unit_may_write_its_own_folder_only_and_has_no_capability() -> None:
    assert setting("ProtectSystem") == "strict"  # the whole system is read-only
    assert setting("CapabilityBoundingSet") == ""
    assert setting("NoNewPrivileges") == "yes"
    written = re.search(r"--transcripts (\S+)", setting("ExecStart"))
    assert written is not None
    assert Path(written[1]).parent == Path("/var/lib") / setting("StateDirectory")


def options_of(command: str) -> dict[str, str]:
    """The options of a command, each with what follows it; of one that is given twice the last."""
    words = command.split()
    following = [*words[1:], ""]
    return {
        word: "" if after.startswith("-") else after
        for word, after in zip(words, following, strict=True)
        if word.startswith("-")
    }


def test_the_image_is_run_with_a_read_only_root_and_without_capabilities() -> None:
    head = (DEPLOY / "Dockerfile").read_text().partition("\nARG ")[0]
    [command] = re.findall(r"^# docker run ((?:.*\\\n#)*.*)$", head, re.MULTILINE)
    options = options_of(command.replace("\\\n#", " "))
    assert options["--read-only"] == ""
    assert options["--cap-drop"] == "ALL"
    assert "--cap-add" not in options
    assert "--privileged" not in options
    assert options["--security-opt"] == "no-new-privileges"
    assert re.fullmatch(r"\d+g", options["--memory"])
    assert options["-v"].endswith(":ro")
    assert options["-p"].startswith("127.0.0.1:")
    assert re.search(r"^USER (?!0\b|root\b)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)


def test_the_images_bases_can_be_pinned_by_digest() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    for base in bases:
        name = base.removeprefix("${").removesuffix("}")
        assert base == f"${{{name}}}"
        assert re.search(rf"^ARG {name}=", text, re.MULTILINE)
        assert f"--build-arg {name}=python@sha256:..." in text.partition("\nARG ")[0]  # how it is pinned


def test_the_proxys_bounds_agree_with_the_servers() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    found = dict(re.findall(r"^ +(limit_conn \w+|large_client_header_buffers|client_max_body_size) (.*);$", text, re.M))
    assert int(found["limit_conn in_all"]) >= int(found["limit_conn per_address"]) >= ServeOptions().max_calls
    count, size = found["large_client_header_buffers"].split()
    assert int(count) * int(size.removesuffix("k")) * 1024 <= front.MAX_HEAD_BYTES
    assert int(found["client_max_body_size"].removesuffix("k")) * 1024 == http.MAX_BODY_BYTES
    assert re.search(r"^ +limit_req zone=requests burst=\d+", text, re.M)


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", PROJECT["project"]["optional-dependencies"]["server"]),
        ("build.lock", PROJECT["build-system"]["requires"]),
    ],
)
def test_what_the_image_has_is_locked_by_hashes(name: str, wanted: list[str]) -> None:
    entries = re.split(r"\n(?=\S)", (DEPLOY / name).read_text().strip())
    assert all(re.fullmatch(r"[\w.-]+==\S+( \\\n +--hash=sha256:[0-9a-f]{64})+", entry) for entry in entries)
    locked = dict(entry.split(" ", 1)[0].split("==") for entry in entries)
    for each in map(Requirement, wanted):
        assert each.specifier.contains(locked[each.name]), f"{each}: make lock"
