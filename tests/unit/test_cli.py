"""The command line: help without extras, one sentence for what is missing, exit statuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastcall import cli

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from fastcall.cli import main
sys.exit(main({argv}))
"""
EXTRAS = {"uvloop", "websockets", "webrtcvad", "numpy", "grpc", "google", "pocketsphinx", "yaml"}


def run_without(blocked: set[str], *argv: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKER.format(blocked=blocked, argv=list(argv))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", [(), ("serve",), ("emulator",), ("simulate",), ("demo",)])
def test_help_needs_no_extra(command: tuple[str, ...]) -> None:
    done = run_without(EXTRAS, *command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: fastcall" in done.stdout


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


def test_no_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([], {})
    assert caught.value.code == 2
