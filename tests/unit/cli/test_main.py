"""The command line: help without extras, one sentence for what is missing, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastcall.cli import main as cli

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
MAIN = """
from fastcall.cli.main import main
sys.exit(main({argv}))
"""
HELPS = """
from fastcall.cli.main import main
for command in {commands}:
    try:
        status = main([*command, "--help"])
    except SystemExit as end:
        status = end.code
    assert not status, command
"""
EXTRAS = {"uvloop", "websockets", "webrtcvad", "numpy", "grpc", "google", "pocketsphinx", "yaml"}


def run_without(blocked: set[str], *argv: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKER.format(blocked=blocked) + MAIN.format(argv=list(argv))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_help_needs_no_extra() -> None:
    """One process shows them all: what it would import for one, it would import for the next."""
    code = BLOCKER.format(blocked=EXTRAS) + HELPS.format(commands=[[], ["serve"], ["emulator"], ["simulate"], ["demo"]])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: fastcall") == 5


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        (("serve",), "uvloop", "server"),
        (("simulate", "ws://127.0.0.1:1/media"), "websockets", "server"),
        (("emulator", "--engine", "tones"), "numpy", "emulator"),
        (("emulator", "--engine", "pocketsphinx"), "pocketsphinx", "emulator"),
    ],
)
def test_a_missing_extra_is_named(command: tuple[str, ...], package: str, extra: str) -> None:
    done = run_without({package}, *command)
    assert done.returncode == 2
    assert f"fastcall[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_usage_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--host", "0.0.0.0"], {}) == 2
    err = capsys.readouterr().err
    assert "GOOGLE_APPLICATION_CREDENTIALS" in err
    assert len(err.strip().splitlines()) == 1


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve"], {"STT_BATCH_MS": "many"}) == 2
    assert "STT_BATCH_MS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--path", "media"], {}, "--path /media"),
        (["--path", "./media"], {}, "--path /media"),
        (["--path", "/a b"], {}, "--path"),
        (["--path", "//media"], {}, "--path"),
        (["--path", "/media?x=1"], {}, "--path"),
        (["--path", "/metrics"], {}, "another"),
        (["--path", "/events/"], {}, "another"),
        (["--path", "/console/media"], {}, "another"),
        ([], {"FASTCALL_FALLBACK_URL": "voicemail"}, "https://"),
        ([], {"FASTCALL_FALLBACK_URL": "/voicemail"}, "https://"),
        ([], {"FASTCALL_FALLBACK_URL": "https://[x"}, "https://"),
        ([], {"FASTCALL_FALLBACK_URL": "ftp://example.com/"}, "https://"),
        ([], {"FASTCALL_PUBLIC_URL": "http://voice.example.com"}, "https://HOST"),
        ([], {"FASTCALL_PUBLIC_URL": "ws://voice.example.com"}, "https://HOST"),
        ([], {"FASTCALL_PUBLIC_URL": "https://a b"}, "https://HOST"),
        ([], {"FASTCALL_ADMIN_TOKEN": "x"}, "16 random characters"),
        ([], {"FASTCALL_ADMIN_TOKN": "x"}, "did you mean FASTCALL_ADMIN_TOKEN?"),
        ([], {"FASTCALL_PUBLICURL": "x"}, "did you mean FASTCALL_PUBLIC_URL?"),
        ([], {"STT_BATCHMS": "x"}, "did you mean STT_BATCH_MS?"),
        ([], {"STT_LANGUAGE": "x"}, "did you mean GCP_STT_LANGUAGE?"),
        ([], {"GCP_STT_LANG": "x"}, "did you mean GCP_STT_LANGUAGE?"),
        ([], {"VAD_HANG_OVER_MS": "x"}, "did you mean VAD_HANGOVER_MS?"),
        ([], {"GCP_STT_LANGUAGE": "hebrew"}, "he-IL"),
        ([], {"GCP_STT_ALTERNATIVE_LANGUAGE_CODES": "en-US,arabic"}, "'arabic': use a code"),
        (["--handler", "./my_agent:agent"], {}, "my_agent:agent, perhaps"),
        (["--handler", "agents/mine.py:agent"], {}, "agents.mine:agent, perhaps"),
        (["--handler", "talkers_broken:agent"], {}, "ZeroDivisionError: division by zero"),
        ([], {"FASTCALL_STREAM_SECRET": "x"}, "16 random characters"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_one_line(
    arguments: list[str], variables: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"SPEECH_EMULATOR_HOST": "127.0.0.1:1", **variables}
    assert cli.main(["serve", "--port", "0", *arguments], environ) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastcall serve: ")
    assert (arguments or list(variables))[0] in err
    assert says in err
    assert len(err.splitlines()) == 1


def test_variables_of_others_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    others = {
        "STT_PROVIDER": "x",
        "VAD_ENABLED": "x",
        "FASTCALL_BUILD": "release",
        "STT_BATCHMS": " ",
        "TWILIO_SID": "x",
    }
    assert cli.main(["serve", "--port", "-1"], others) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_help_is_shown_where_there_is_no_unicode(encoding: str) -> None:
    commands = [[command] for command in ("serve", "simulate", "check", "emulator", "demo", "token")]
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    program = [sys.executable, "-c", HELPS.format(commands=commands)]
    done = subprocess.run(program, capture_output=True, env=environ, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for (command,) in commands:
        assert f"usage: fastcall {command}".encode() in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "fastcall", "token", "--help"], capture_output=True, check=True)
    assert done.stdout.startswith(b"usage: fastcall token")


def test_a_start_that_fails_leaves_a_program_with_threads_of_its_own_alone() -> None:
    """As a test that calls it is: the process is not the server's to end."""
    code = """
import sys, threading
from fastcall.cli import main as cli
is_over = threading.Event()
threading.Thread(target=is_over.wait).start()
with __import__("socket").create_server(("127.0.0.1", 0)) as taken:
    status = cli.main(["serve", "--port", str(taken.getsockname()[1]), "--stt-endpoint", "127.0.0.1:1"], {})
names = [thread.name for thread in threading.enumerate()]
is_over.set()
assert status == 2, status
assert "fastcall-last-resort" not in names, names
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([], {})
    assert caught.value.code == 2
