"""`fastcall demo` and the example, run as a newcomer runs them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import forkserver
from waiting import until_so

ROOT = Path(__file__).parents[2]
FASTCALL = [sys.executable, "-m", "fastcall"]


def test_the_demo_in_tones_is_a_conversation_without_a_wrong_word() -> None:
    done = forkserver.run(
        [*FASTCALL, "demo", "--engine", "tones"], capture_output=True, text=True, timeout=240, check=False
    )
    lines = done.stdout.splitlines()
    # On a busy machine an answer may be late, which is said, and is no success; but each comes.
    late = [line for line in lines if line.endswith("   <- TOO LATE")]
    assert all(re.search(r"\d ms   <- TOO LATE$", line) for line in late), done.stdout
    assert done.returncode == (1 if late else 0), done.stdout + done.stderr
    wanted = ["[CFG] ENABLE_STREAMING_STT=True", "[STT] Streaming session started", "🟡 Partial: ", "🟢 Final: "]
    wanted.append("[STT] Streaming session closed")
    first = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in wanted]
    assert first == sorted(first)
    assert sum(re.match(r"🟢 Final: \w", line) is not None for line in lines) == 6
    assert sum(line.startswith("[STT] Streaming session started") for line in lines) == 1
    assert done.stderr == ""
    assert f"{6 - len(late)} of 6 answers within 1200 ms" in lines
    assert re.fullmatch(r"barge-in: clear \d+ ms after .* the agent got 'for which day, and at.*'", lines[-3])
    assert re.fullmatch(
        r"turns: at a cough and an 'mhm' the agent (was stopped|did not stop).* took 6 turns", lines[-2]
    )
    assert lines[-1] == "6 of 6 sentences word for word: all right"


async def has_finals(lines: list[str], count: int) -> bool:
    return sum(line.startswith("🟢 Final: ") for line in lines) >= count


def test_the_example_finds_the_utterances_itself() -> None:
    """The users' threaded media loop against an emulator: callbacks arrive, the last words are flushed."""
    emulator = forkserver.Popen(
        [*FASTCALL, "emulator", "--engine", "tones", "--port", "0", "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with emulator:
        assert emulator.stdout is not None
        found = re.search(r"listening on (\S+)", emulator.stdout.readline())
        assert found
        # A busy machine may be late with the words; here they are waited for.
        patient = {"UTTERANCE_COMMIT_MS": "10000"}
        environ = os.environ | patient | {"SPEECH_EMULATOR_HOST": found[1], "GCP_STT_LANGUAGE": "en-US"}
        example = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "media_ws_ai.py")],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        with example:
            assert example.stdout is not None
            assert "listening" in example.stdout.readline()
            lines: list[str] = []
            reader = threading.Thread(target=lambda: [lines.append(line) for line in example.stdout])
            reader.start()
            # Late and slowly: a busy machine too has opened its stream by then, and has the time to show an interim.
            tones = "[2500] apple arrow autumn [1200] badge bamboo"
            forkserver.run(
                [*FASTCALL, "simulate", "ws://127.0.0.1:8081/media", "--tones", tones, "--word-ms", "400"],
                check=True,
                capture_output=True,
                timeout=240,
            )
            # On a busy machine the last words are later than the caller waits for the end.
            asyncio.run(until_so(lambda: has_finals(lines, 2)))
            example.terminate()
            reader.join()
        emulator.terminate()
    heard = "".join(lines)
    finals = re.findall(r"🟢 Final: (.*)", heard)
    assert finals == ["apple arrow autumn", "badge bamboo"]
    # How many there are is the machine's matter.
    partials = re.findall(r"🟡 Partial: (.*)", heard)
    assert partials
    assert all(any(final.startswith(partial) for final in finals) for partial in partials)
