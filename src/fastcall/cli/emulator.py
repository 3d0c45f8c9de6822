"""`fastcall emulator`: a local server that speaks Google's StreamingRecognize."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import math
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastcall.errors import UsageError

if TYPE_CHECKING:
    from fastcall.emulator.options import Options
    from fastcall.emulator.server import Emulator

__all__ = ["HELP", "configure", "run"]

HELP = "a local emulator of Google's streaming speech-to-text, with its limits and faults"

_EXTRA = "pip install 'fastcall[emulator]'"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command. Times are seconds; 0 disables a limit."""
    parser.epilog = (
        "Point a client at it with SPEECH_EMULATOR_HOST=127.0.0.1:50051 (fastcall), or with a plaintext gRPC "
        "channel to that address (any Google client library). docs/emulator.md has the details."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_count, default=50051, help="0: let the system choose (default: %(default)s)")
    add(
        "--engine",
        choices=("pocketsphinx", "tones", "script"),
        default="pocketsphinx",
        help="the recognition engine: pocketsphinx (English speech), tones (fastcall's own test words), "
        "script (a text from a file, whatever the audio) (default: %(default)s)",
    )
    add("--grammar", metavar="FILE", help="JSGF grammar for pocketsphinx, which makes it far more accurate")
    add("--script", metavar="FILE", help="texts and their times (YAML) for the script engine")
    add("--workers", type=_count, default=0, help="processes of the pocketsphinx engine (default: one per core)")
    add("--tls-cert", metavar="FILE", help="certificate chain (PEM): speak TLS, with --tls-key")
    add("--tls-key", metavar="FILE", help="private key (PEM) of the certificate")
    _add_faults(parser)
    _add_limits(parser)
    _add_results(parser)
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="exit when standard input closes: for programs that start the emulator as a child",
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faults and observation")
    add = group.add_argument
    add("--scenario", metavar="FILE", help="faults (YAML), see docs/emulator.md")
    add("--seed", type=_count, default=0, help="seed of all random choices (default: %(default)s)")
    add("--record", metavar="DIR", help="keep each stream's audio (WAV) and messages (JSON lines) here")
    add("--status", action="store_true", help="show the status of the emulator at --host and --port, and exit")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits, by default those of Google")
    add = limits.add_argument
    add("--stream-limit-s", type=_number, default=305.0, help="longest stream (default: %(default)g)")
    add("--idle-s", type=_number, default=10.0, help="longest time without audio (default: %(default)g)")
    add(
        "--max-speed",
        type=_number,
        default=5.0,
        help="maximum speed of audio, relative to real time (default: %(default)g)",
    )
    add(
        "--max-burst-s",
        type=_number,
        default=15.0,
        help="audio allowed at any speed, in seconds (default: %(default)g)",
    )
    add("--max-chunk-bytes", type=_count, default=25_600, help="maximum audio per request (default: %(default)s)")
    add("--streams-per-connection", type=_count, default=100, help="more streams wait (default: %(default)s)")
    add("--max-streams", type=_count, default=300, help="maximum number of open streams (default: %(default)s)")
    add("--requests-per-minute", type=_count, default=900, help="new streams per minute (default: %(default)s)")


def _count(text: str) -> int:
    """A non-negative integer."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _number(text: str) -> float:
    """A non-negative number."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("must be a number from 0")
    return value


def _add_results(parser: argparse.ArgumentParser) -> None:
    results = parser.add_argument_group("results, by default like those of Google")
    add = results.add_argument
    add(
        "--final-delay-s",
        type=_number,
        default=0.9,
        help="median, from the end of speech; 0: none (%(default)g)",
    )
    add("--final-delay-p99-s", type=_number, default=1.6, help="99th percentile (default: %(default)g)")
    add(
        "--end-silence-s",
        type=_number,
        default=0.6,
        help="silence that ends an utterance (default: %(default)g)",
    )
    add(
        "--max-utterance-s",
        type=_number,
        default=60.0,
        help="speech without a pause gets a final after this time (default: %(default)g)",
    )
    add(
        "--min-speech-s",
        type=_number,
        default=0.0,
        help="pocketsphinx: a shorter sound, such as a cough, has no words, where a grammar would find some "
        "(default: %(default)g)",
    )
    add("--rewrite-rate", type=_number, default=0.1, help="share of interims that are corrected later (%(default)g)")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT (or the end of standard input, with --exit-with-parent)."""
    if args.status:
        print(_fetch_status(args.host, args.port, args.tls_cert), end="")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        _import_no_client()
        from fastcall.emulator.server import Emulator
    except ModuleNotFoundError as error:
        raise UsageError(f"the emulator needs the package {error.name}: {_EXTRA}") from error
    return asyncio.run(_serve(Emulator(_options(args)), exit_with_parent=args.exit_with_parent))


def _import_no_client() -> None:
    """Put google-cloud-speech's packages in place without running them: the emulator needs their messages alone, and
    the client that they import takes a second and 40 MiB. Only for a process that runs nothing but the emulator."""
    for version in ("v1", "v1p1beta1", "v2"):
        name = f"google.cloud.speech_{version}"
        spec = importlib.util.find_spec(name) if name not in sys.modules else None
        if spec is not None:
            sys.modules[name] = importlib.util.module_from_spec(spec)


def _options(args: argparse.Namespace) -> Options:
    from dataclasses import fields

    from fastcall.emulator.options import Options

    values = vars(args)
    options = Options(**{field.name: values[field.name] for field in fields(Options) if field.name in values})
    if options.port > 65535:
        raise UsageError("--port must be at most 65535")
    if options.rewrite_rate > 1:
        raise UsageError("--rewrite-rate is a share: at most 1")
    if options.max_utterance_s <= 0:
        raise UsageError("--max-utterance-s must be more than 0")
    return options


def _fetch_status(host: str, port: int, tls_cert: str | None) -> str:
    """The status page of a running emulator. With TLS, its own certificate is trusted."""
    import http.client
    import ssl

    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        if tls_cert is not None:
            context = ssl.create_default_context(cafile=tls_cert)
            context.check_hostname = False  # the certificate itself is known
            connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
        connection.request("GET", "/")
        response = connection.getresponse()
        text = response.read(65_536).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"no emulator answers at {host}:{port}: {error}") from error
    finally:
        connection.close()
    if response.status != 200 or not text.startswith("fastcall emulator"):
        raise UsageError(f"the server at {host}:{port} is not an emulator")
    return text


async def _serve(emulator: Emulator, *, exit_with_parent: bool) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with emulator:
        if exit_with_parent:
            await _watch_stdin(stop)
        # Parent processes parse this line: its format must not change.
        print(f"emulator listening on {emulator.target} engine={emulator.options.engine}", flush=True)
        await stop.wait()
    return 0


async def _watch_stdin(stop: asyncio.Event) -> None:
    class Watcher(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    try:
        await asyncio.get_running_loop().connect_read_pipe(Watcher, sys.stdin)
    except (OSError, ValueError) as error:
        raise UsageError("--exit-with-parent needs a pipe as standard input") from error
