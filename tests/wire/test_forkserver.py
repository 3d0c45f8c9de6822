"""What is forked is as if it had been executed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forkserver
from forkserver import Popen
from peers import PATIENCE_S

pytestmark = pytest.mark.skipif(not forkserver.CAN_FORK, reason="programs are executed here")

DESCRIBE = """
import json, logging, os, random, signal, sys, threading
import numpy
is_open = lambda number: os.path.lexists("/proc/self/fd/" + number)  # not any more what listed them
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ), "path": sys.path, "name": __name__,
    "descriptors": sorted(int(each) for each in os.listdir("/proc/self/fd") if is_open(each)),
    "is_leader": os.getsid(0) == os.getpid(), "group": os.getpgid(0), "threads": threading.active_count(),
    "tasks": len(os.listdir("/proc/self/task")), "handlers": [str(each) for each in logging.getLogger().handlers],
    "signals": [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "stdin": [sys.stdin.encoding, sys.stdin.errors, sys.stdin.isatty()],
    "out": [[each.encoding, each.errors, each.line_buffering, each.write_through, each.seekable()]
            for each in (sys.stdout, sys.stderr)],
}))
"""
DRAW = "import random, numpy; print(random.random(), numpy.random.random())"

Start = Callable[..., subprocess.Popen[Any]]


def program(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def output(start: Start, args: list[str], **options: Any) -> str:
    with start(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options) as process:
        out, _ = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 0
    return str(out)


def is_forked(process: subprocess.Popen[Any]) -> bool:
    """By its parent: whom this process has executed is its own child."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid())


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["", "SIGINT ignored"])
@pytest.mark.parametrize("new_session", [True, False])
def test_a_fork_cannot_be_told_from_what_was_executed(new_session: bool, handler: Any, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        check_that_they_are_alike(new_session, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)


def check_that_they_are_alike(new_session: bool, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    environ = {**os.environ, "NAME": "väl\udcff", "PYTHONPATH": f"{tmp_path}{os.pathsep}/nowhere"}
    options: dict[str, Any] = {"start_new_session": new_session, "cwd": tmp_path, "env": environ}
    made = [
        json.loads(output(start, program(DESCRIBE, "-x", "ä b"), pass_fds=(writing,), stderr=writing, **options))
        for start in (subprocess.Popen, Popen)
    ]
    os.close(writing)
    with open(reading, "rb") as said:
        assert said.read() == b""
    for each in made:
        assert each.pop("tasks") == each.pop("threads") or each is made[0]  # numpy's own threads
        assert each.pop("is_leader") is new_session
        assert (each.pop("group") == os.getpgid(0)) is not new_session
        each["environ"].pop(forkserver.ADDRESS, None)
    assert made[0] == made[1]
    assert made[1]["descriptors"] == [0, 1, 2, writing]


def test_a_program_in_a_file_or_a_module_is_forked_too(tmp_path: Path) -> None:
    file = tmp_path / "tool.py"
    file.write_text("import sys\nprint(__name__, sys.argv, sys.path[0])\n")
    for arguments in (["-m", "tool", "x"], [str(file), "x"]):
        said = [output(start, [sys.executable, *arguments], cwd=tmp_path) for start in (subprocess.Popen, Popen)]
        assert said[0] == said[1]


def test_a_program_on_a_core_is_forked_there() -> None:
    core = min(os.sched_getaffinity(0))
    code = "import os; input(); print(*os.sched_getaffinity(0))"
    with Popen(
        ["taskset", "-c", str(core), *program(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert is_forked(process)
        assert process.communicate("\n", PATIENCE_S)[0] == f"{core}\n"


def test_forks_draw_different_numbers() -> None:
    drawn = [output(Popen, program(DRAW)).split() for _ in range(2)]
    assert len({number for each in drawn for number in each}) == 4


@pytest.mark.parametrize("is_module", [False, True])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('no')", 1),
        ("raise ValueError", 1),
        ("import os; os._exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import signal\nsignal.signal(2, signal.default_int_handler)\nsignal.raise_signal(2)", -2),
        ("import os; os.abort()", -6),
        ("import sys; sys.stdout.close()", 0),
        ("print('said'); import sys; sys.exit(300)", 44),
        ("import atexit, threading\natexit.register(print, 'at exit')\nthreading.Thread(target=print).start()", 0),
    ],
)
def test_it_ends_as_it_would(code: str, status: int, is_module: bool, tmp_path: Path) -> None:
    made = []
    (tmp_path / "tool.py").write_text(code)
    args = [sys.executable, "-m", "tool"] if is_module else program(code)
    for start in (subprocess.run, forkserver.run):
        done: Any = start(args, cwd=tmp_path, capture_output=True, text=True, check=False)
        made.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
    assert made[0] == made[1]
    assert made[1][0] == status


def test_it_is_there_until_its_end_is_known() -> None:
    with Popen(program("input()"), stdin=subprocess.PIPE) as process:
        assert is_forked(process)
        ended = os.pidfd_open(process.pid)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        process.send_signal(signal.SIGKILL)
        assert select.select([ended], [], [], PATIENCE_S)[0]
        os.kill(process.pid, 0)  # nobody else has its id
        assert process.wait(PATIENCE_S) == -9
        assert process.wait() == -9
        os.close(ended)


@pytest.mark.parametrize("variable", ["GRPC_TRACE", "LD_LIBRARY_PATH", "PYTHONOPTIMIZE", "GRPC_VERBOSITY"])
def test_what_reads_another_environment_when_it_is_imported_is_executed(variable: str) -> None:
    with Popen(program("input()"), stdin=subprocess.PIPE, env={**os.environ, variable: "1"}) as process:
        assert not is_forked(process)
        process.communicate(b"\n", PATIENCE_S)
    assert process.returncode == 0


@pytest.mark.parametrize("options", [{"umask": 0o77}, {"shell": True}, {"process_group": 0}])
def test_what_a_fork_is_not_asked_for_is_executed(options: dict[str, Any]) -> None:
    args: Any = program("input()") if "shell" not in options else "read line"
    with Popen(args, stdin=subprocess.PIPE, **options) as process:
        assert not is_forked(process)
        process.communicate(b"\n", PATIENCE_S)
    assert process.returncode == 0


def test_what_a_fork_starts_is_forked_too() -> None:
    code = f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {DESCRIBE!r}]).returncode, flush=True)"
    said = output(Popen, program(code)).splitlines()
    assert json.loads(said[0])["tasks"] == 1
    assert said[1] == "0"


def test_the_server_ends_with_whom_it_serves() -> None:
    code = "import sys, forkserver; forkserver.run([sys.executable, '-c', ''], check=True); print(forkserver._address)"
    environ = {name: value for name, value in os.environ.items() if name != forkserver.ADDRESS}
    environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    said = output(subprocess.Popen, program(code), env=environ)
    folder = Path(said.strip()).parent
    assert folder.name.startswith("fastcall-fork-")
    assert not folder.exists()
