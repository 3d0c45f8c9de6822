"""Sessions for threaded code in programs that fork, that end, that gevent has patched, or that lack a package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import forkserver
from peers import PATIENCE_S, way

BEGIN = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks of a process with threads
import fastcall
from fastcall import Settings, StreamingSTTSession, UsageError, UtteranceDispatcher
from fastcall.audio.tones import synthesize

address, uplink, roots = sys.argv[1], sys.argv[2], sys.argv[3] or None
SETTINGS = Settings(speech_emulator_host=address, language="en-US", stt_uplink=uplink, stt_tls_roots=roots)

class Texts:
    def __init__(self):
        self.texts, self.came = [], threading.Event()
    def __call__(self, text):
        self.texts.append(text)
        self.came.set()
    def wait(self):
        assert self.came.wait(30), "nothing came"
        return self.texts
"""


def run(
    address: str, program: str, *, runner: Callable[..., subprocess.CompletedProcess[str]] = forkserver.run
) -> subprocess.CompletedProcess[str]:
    """:param runner: `subprocess.run` for programs that want modules that nobody has imported"""
    chosen = way()
    arguments = [address, chosen["stt_uplink"], chosen["stt_tls_roots"] or ""]
    return runner(
        [sys.executable, "-c", BEGIN + program, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        check=False,
    )


def test_a_fork_starts_clean_and_says_that_what_it_inherited_is_of_another_process(prompt_emulator: str) -> None:
    done = run(
        prompt_emulator,
        """
finals = Texts()
session = StreamingSTTSession(on_final=finals, settings=SETTINGS)
dispatcher = UtteranceDispatcher(session)
pid = os.fork()
if pid == 0:
    signal.alarm(50)
    status = 1
    try:
        for call in (lambda: session.push_audio(bytes(320)), session.close, dispatcher.begin, dispatcher.end,
                     lambda: session.note_utterance(True, 0), lambda: session.add_listener(print)):
            try:
                call()
            except UsageError as error:
                assert f"process {os.getppid()}" in str(error), error
            else:
                raise AssertionError("an inherited session was used in silence")
        own = Texts()
        with StreamingSTTSession(on_final=own, settings=SETTINGS) as mine:
            mine.push_audio(synthesize("[200] badge bamboo [900]"))
            assert own.wait() == ["badge bamboo"], own.texts
        status = 0
    finally:
        sys.stdout.flush()
        if status:
            import traceback
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(status)
    sys.exit(0)  # with the handlers for the end of an interpreter, as gunicorn's workers
session.push_audio(synthesize("[200] apple arrow [900]"))
assert finals.wait() == ["apple arrow"], finals.texts
status = os.waitpid(pid, 0)[1]
session.close()
print("child", status)
""",
    )
    assert done.stdout == "child 0\n", done.stderr
    assert done.stderr == ""


def test_the_end_of_the_interpreter_brings_the_last_words_and_no_noise(emulator: str) -> None:
    """The recognizer's finals are 0.9 s late, and nobody closes the sessions."""
    done = run(
        emulator,
        """
import logging
logging.basicConfig(level=logging.WARNING)
heard = [Texts(), Texts()]
sessions = [StreamingSTTSession(on_partial=each, on_final=lambda text: print(text, flush=True), settings=SETTINGS)
            for each in heard]
for session in sessions:
    session.push_audio(synthesize("[200] apple arrow autumn [200]"))
for each in heard:
    each.wait()
""",
    )
    assert done.stdout == "apple arrow autumn\n" * 2, done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_the_interpreter_brings_the_last_words_although_another_session_hangs(emulator: str) -> None:
    """A peer that takes the connection and never says a word keeps nobody."""
    done = run(
        emulator,
        """
import socket
from dataclasses import replace
deaf = socket.create_server(("127.0.0.1", 0))
host = f"127.0.0.1:{deaf.getsockname()[1]}"
hanging = StreamingSTTSession(settings=replace(SETTINGS, speech_emulator_host=host))
heard = Texts()
session = StreamingSTTSession(on_partial=heard, on_final=lambda text: print(text, flush=True), settings=SETTINGS)
for each in (hanging, session):
    each.push_audio(synthesize("[200] apple arrow autumn [200]"))
heard.wait()
""",
    )
    assert (done.returncode, done.stdout) == (0, "apple arrow autumn\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_the_end_of_the_interpreter_does_not_wait_for_what_hangs(prompt_emulator: str) -> None:
    """A callback that never returns, and credentials that never come."""
    done = run(
        prompt_emulator,
        """
import asyncio
import google.auth
google.auth.default = lambda **options: threading.Event().wait()
entered = Texts()

def hang(text):
    entered(text)
    threading.Event().wait()

session = StreamingSTTSession(on_final=hang, settings=SETTINGS)
session.push_audio(synthesize("[200] apple [900]"))
entered.wait()

async def open_another():
    return StreamingSTTSession(settings=Settings(speech_emulator_host=None))

other = asyncio.run(open_another())
print("end", flush=True)
""",
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert "callbacks had not returned" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("uplink", ["grpcio"], indirect=True)
def test_under_gevent_grpcio_is_refused_at_once(prompt_emulator: str, uplink: str) -> None:
    pytest.importorskip("gevent")
    done = run(
        prompt_emulator,
        """
from gevent import monkey
monkey.patch_all()
try:
    StreamingSTTSession(settings=SETTINGS)
except UsageError as error:
    print(error)
""",
        runner=subprocess.run,
    )
    assert "gevent" in done.stdout, done.stderr
    assert "STT_UPLINK=native" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("uplink", ["native"], indirect=True)
def test_under_gevent_the_native_uplink_serves(prompt_emulator: str, uplink: str) -> None:
    pytest.importorskip("gevent")
    done = run(
        prompt_emulator,
        """
from gevent import monkey
monkey.patch_all()
finals = Texts()
with StreamingSTTSession(on_final=finals, settings=SETTINGS) as session:
    session.push_audio(synthesize("[200] apple arrow [900]"))
    print(*finals.wait())
""",
        runner=subprocess.run,
    )
    assert (done.returncode, done.stdout) == (0, "apple arrow\n"), done.stderr
    # A machine on which the emulator takes the audio too late is told of; nothing is lost.
    assert [line for line in done.stderr.splitlines() if "DEADLINE_EXCEEDED" not in line] == []


@pytest.mark.parametrize("package", ["google.cloud.speech_v1p1beta1", "grpc"])
def test_without_the_extra_the_error_says_what_to_install(prompt_emulator: str, package: str) -> None:
    done = run(
        prompt_emulator,
        f"""
sys.modules[{package!r}] = None
try:
    StreamingSTTSession(settings=SETTINGS)
except UsageError as error:
    print(error)
""",
        runner=subprocess.run,
    )
    name = package.partition(".")[0]
    wanted = f"StreamingSTTSession: the package '{name}' is not installed; run: pip install 'fastcall[server]'\n"
    assert done.stdout == wanted, done.stderr


def test_a_name_whose_package_is_missing_says_what_to_install() -> None:
    program = "import sys; sys.modules['google'] = None\nfrom fastcall import GoogleRecognizer"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    wanted = "fastcall.GoogleRecognizer: the package 'google' is not installed; run: pip install 'fastcall[server]'"
    assert wanted in done.stderr.splitlines()[-1]
