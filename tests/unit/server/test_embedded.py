"""The emulator as a child: up with an address, down when told, gone with its parent."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys

import pytest

from fastcall.errors import UsageError
from fastcall.server.embedded import EmbeddedRecognizer
from peers import PATIENCE_S


async def test_it_serves_until_it_is_stopped() -> None:
    recognizer = await EmbeddedRecognizer.start("tones")
    host, _, port = recognizer.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await writer.wait_closed()
    await recognizer.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection(host, int(port))
    await recognizer.stop()  # twice is once


async def test_it_is_started_again_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    recognizer = await EmbeddedRecognizer.start("tones")
    host, _, port = recognizer.address.rpartition(":")
    died = recognizer.pid
    os.kill(died, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while "is ready again" not in caplog.text:
            await asyncio.to_thread(lambda: None)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await writer.wait_closed()
    assert recognizer.pid != died
    assert "died of signal 9" in caplog.text
    await recognizer.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection(host, int(port))


async def test_what_does_not_start_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="SPEECH_EMULATOR_HOST"):
        await EmbeddedRecognizer.start("pocketsphinx", ["--grammar", "/no/such/grammar"])


def test_it_ends_with_its_parent() -> None:
    code = (
        "import asyncio, os\n"
        "from fastcall.server.embedded import EmbeddedRecognizer\n"
        "async def main():\n"
        "    recognizer = await EmbeddedRecognizer.start('tones')\n"
        "    print(recognizer.pid, flush=True)\n"
        "    os._exit(1)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, timeout=60)
    # The child holds the same stdout: it is closed only when the child, too, is gone, and run() waits for that.
    assert parent.stdout.strip().isdigit()
