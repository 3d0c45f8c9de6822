"""The programs of the tutorial and the how-tos, copied from the pages and run as the pages say."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peers import PATIENCE_S, Phone, serve_environment, serve_process, start_emulator, tones
from waiting import until_so
from workers import on_the_line

DOCS = Path(__file__).parents[2] / "docs"
SERVE = {
    "how-to/asgi.md": """
import uvicorn
uvicorn.run("program:app", host="127.0.0.1", port=0, ws="websockets-sansio")
""",
    "how-to/threads.md": """
import program
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, program.app, threaded=True)
print(f"running on http://127.0.0.1:{server.port} ", flush=True)
server.serve_forever()
""",
}


def program(page: str) -> str:
    """The page's one program."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@contextmanager
def running(folder: Path, page: str, recognizer: str) -> Iterator[Path]:
    """The program, served; what it says goes into the file."""
    (folder / "program.py").write_text(program(page))
    said = folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE[page]],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=serve_environment(SPEECH_EMULATOR_HOST=recognizer),
        )
        try:
            yield said
        finally:
            process.kill()
            process.wait()


async def simulate(url: str) -> None:
    """A call that says two words."""
    command = [sys.executable, "-m", "fastcall", "simulate", url, "--tones", "apple arrow", "--tail-s", "4"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "apple arrow" not in done.stdout, "it is the program that is to say so"


@pytest.mark.parametrize("page", SERVE)
async def test_a_program_with_a_media_loop_of_its_own(page: str, emulator: str, tmp_path: Path) -> None:
    with running(tmp_path, page, emulator) as said:

        async def says(what: str) -> bool:
            return re.search(what, said.read_text()) is not None

        await until_so(lambda: says(r"running on http://\S+:\d+"))
        port = re.findall(r"running on http://\S+:(\d+)", said.read_text())[0]
        async with Phone(f"ws://127.0.0.1:{port}/media") as phone:
            await phone.start()
            await phone.speak(tones("[300] apple arrow [700]"))
            # On a busy machine the two words may come as two utterances, and late: the caller stays until they do.
            async with on_the_line(phone):
                await until_so(lambda: says(r"(?m)^heard: apple(?: |\n(?s:.*?)^heard: )arrow$"))
            await phone.stop()
            await phone.closed()  # with that the session is
        assert "Traceback" not in said.read_text()


async def test_the_tutorials_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_agent.py").write_text(program("tutorial.md"))
    monkeypatch.chdir(tmp_path)
    emulator = await asyncio.to_thread(start_emulator)
    try:
        async with serve_process(
            "--handler", "my_agent:agent", SPEECH_EMULATOR_HOST=emulator.ready[1], PYTHONPATH=str(tmp_path)
        ) as process:
            await simulate(process.ready[1])
            await asyncio.to_thread(process.wait_for, "^heard: apple arrow - answer heard whole: ")
    finally:
        await asyncio.to_thread(emulator.stop)
