"""``fastcall serve``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

from fastcall.errors import UsageError
from fastcall.settings import Settings

HELP = "the server: Twilio calls in, transcripts out"

EPILOG = """\
Point a Twilio number at it with TwiML:
  <Response><Connect><Stream url="wss://YOUR-HOST/media"/></Connect></Response>

settings (environment), with their defaults:
  GOOGLE_APPLICATION_CREDENTIALS  a service account's key file; without it, and without an emulator,
                                  the embedded recogniser is used (English, rough, loopback only)
  SPEECH_EMULATOR_HOST            HOST:PORT of a plaintext emulator (`fastcall emulator`)
  GCP_STT_LANGUAGE=he-IL  GCP_STT_MODEL=phone_call
  GOOGLE_CLOUD_PROJECT  GCP_STT_LOCATION=global  GCP_STT_SENSITIVITY
                                  for --stt google-v2: the project, if the credentials name none; global, us, eu or
                                  a region; standard, short or supershort: how soon an utterance counts as over
  ENABLE_STREAMING_STT=true       false: no stream is opened; the fallback hears every utterance as a whole
  WHISPER_MODEL                   a directory or a name (small, large-v3 …): Whisper is the fallback when the
                                  recogniser cannot serve; needs pip install 'fastcall[whisper]'
  WHISPER_COMPUTE_TYPE=default  WHISPER_THREADS=2  WHISPER_WORKERS=1
  STT_FALLBACK_TIMEOUT_MS=2000  STT_FALLBACK_LIMIT_S=20
  STT_BATCH_MS=150  STT_PARTIAL_DEBOUNCE_MS=180  UTTERANCE_COMMIT_MS=300
  VAD_MODE=2  VAD_START_MS=60  VAD_HANGOVER_MS=500  VAD_PREROLL_MS=300  UTTERANCE_MAX_S=60

GET /healthz answers 200 while it runs. SIGTERM or Ctrl-C closes the calls, keeps their last words, and ends it.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port; 0 for a free one (default: %(default)s)")
    parser.add_argument("--path", default="/media", help="path of the WebSocket (default: %(default)s)")
    parser.add_argument(
        "--stt",
        choices=("auto", "google", "google-v2", "emulator"),
        default="auto",
        help="recogniser; auto: SPEECH_EMULATOR_HOST, else GOOGLE_APPLICATION_CREDENTIALS, else embedded; "
        "google-v2: Google's API version 2 (models chirp_3, telephony, ...), or an emulator's, if one is named",
    )
    parser.add_argument("--stt-endpoint", metavar="HOST:PORT", help="the emulator, for --stt emulator and google-v2")
    parser.add_argument("--handler", metavar="MODULE:CALLABLE", help="async def handler(call), run for each call")
    parser.add_argument(
        "--fallback",
        metavar="MODULE:CALLABLE",
        help="your own fallback, plain or async: f(pcm, language) -> text; pcm is LINEAR16, 8 kHz mono",
    )
    parser.add_argument("--whisper-model", metavar="MODEL", help="overrides WHISPER_MODEL")
    parser.add_argument("--transcripts", metavar="FILE", help="append the transcript stream (NDJSON) to FILE")
    parser.add_argument(
        "--hot-lane",
        choices=("on", "off"),
        default="on",
        help="take ordinary media messages from the socket's bytes at once; off: by websockets, slower, and the same "
        "otherwise (default: %(default)s)",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="(default: %(default)s)")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings.from_environ(environ)
    if args.whisper_model:
        settings = replace(settings, whisper_model=args.whisper_model)
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port}: must be from 0 to 65535")
    from fastcall.app import ServeOptions, serve

    options = ServeOptions(
        host=args.host,
        port=args.port,
        path=args.path,
        stt=args.stt,
        stt_endpoint=args.stt_endpoint,
        handler=args.handler,
        fallback=args.fallback,
        transcripts=args.transcripts,
        log_format=args.log_format,
        hot_lane=args.hot_lane == "on",
    )
    return serve(settings, options)
