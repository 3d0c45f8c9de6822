"""The emulator as a child: up with an address, down when told, gone with its parent."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from fastcall.embedded import EmbeddedRecognizer
from fastcall.errors import UsageError


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


async def test_what_does_not_start_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="SPEECH_EMULATOR_HOST"):
        await EmbeddedRecognizer.start("pocketsphinx", ["--grammar", "/no/such/grammar"])


def test_it_ends_with_its_parent() -> None:
    code = (
        "import asyncio, os\n"
        "from fastcall.embedded import EmbeddedRecognizer\n"
        "async def main():\n"
        "    recognizer = await EmbeddedRecognizer.start('tones')\n"
        "    print(recognizer._process.pid, flush=True)\n"
        "    os._exit(1)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, timeout=60)
    # The child holds the same stdout: it is closed only when the child, too, is gone, and run() waits for that.
    assert parent.stdout.strip().isdigit()
