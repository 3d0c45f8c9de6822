"""``fastcall serve``."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Mapping
from dataclasses import replace

from fastcall.errors import UsageError
from fastcall.settings import UPLINKS, Settings, check_names

HELP = "the server: Twilio calls in, transcripts out"

MAX_WORKERS = 256
DEFAULT_PORT = 8080
MAX_PORT = 65535
# A call may last a day.
MAX_DRAIN_S = 86_400

EPILOG = """\
Point a Twilio number's voice webhook at https://YOUR-HOST/twiml, or at your own TwiML:
  <Response><Connect><Stream url="wss://YOUR-HOST/media"/></Connect></Response>

access control (environment):
  TWILIO_AUTH_TOKEN       streams and /twiml need Twilio's signature; during rotation two tokens, comma-separated (or
                          the second in TWILIO_AUTH_TOKEN_SECONDARY)
  FASTCALL_PUBLIC_URL     https://YOUR-HOST at which Twilio reaches this server, which its signatures cover
  FASTCALL_STREAM_SECRET  streams need a one-time token; /twiml gives them to Twilio's signed requests, and
                          `fastcall token` creates them for your own TwiML
  FASTCALL_ADMIN_TOKEN    /metrics and /events need `Authorization: Bearer` with it, and /console asks for it; without
                          it, and without a public URL, they answer this machine only
  FASTCALL_FALLBACK_URL   TwiML for calls beyond capacity; without it callers hear the busy signal

settings (environment), with their defaults:
  GOOGLE_APPLICATION_CREDENTIALS  a service account's key file; without it, gcloud's file or the metadata server;
                                  without any, and without an emulator, the embedded recognizer is used
                                  (English, inaccurate, loopback only)
  SPEECH_EMULATOR_HOST            HOST:PORT of a plaintext emulator (`fastcall emulator`)
  GCP_STT_LANGUAGE=he-IL  GCP_STT_MODEL=phone_call
  GCP_STT_PHRASES  GCP_STT_ALTERNATIVE_LANGUAGE_CODES
                                  expected words and phrases, and more languages; comma-separated
  GCP_STT_LOCATION=global         us or eu; for --stt google-v2 also a region; selects the endpoint
  GOOGLE_CLOUD_UNIVERSE_DOMAIN=googleapis.com
  GOOGLE_CLOUD_PROJECT  GCP_STT_SENSITIVITY
                                  for --stt google-v2: the project, if the credentials name none; standard, short or
                                  supershort: how soon an utterance is considered over
  ENABLE_STREAMING_STT=true       false: no stream is opened; the fallback recognizes every utterance
  WHISPER_MODEL                   a directory or a name (small, large-v3, ...): Whisper is the fallback if the
                                  recognizer is down; needs pip install 'fastcall[whisper]'
  WHISPER_COMPUTE_TYPE=default  WHISPER_THREADS=2  WHISPER_WORKERS=1
  STT_FALLBACK_TIMEOUT_MS=2000  STT_FALLBACK_LIMIT_S=20
  STT_BATCH_MS=150  STT_PARTIAL_DEBOUNCE_MS=180  UTTERANCE_COMMIT_MS=300
  STT_UPLINK=auto                 native: streams use libnghttp2, on the event loop; grpcio: Google's client
                                  library, at several times the cost; auto: native if libnghttp2 is installed
  STT_TLS_ROOTS                   certificates (PEM) to trust instead of the system's; an emulator is then reached over
                                  TLS
  TURN_DETECTION=adaptive  TURN_MIN_SILENCE_MS=400  TURN_MAX_SILENCE_MS=1800
                                  how much silence ends a turn: it depends on what was said; silence: always
                                  VAD_HANGOVER_MS
  TURN_COMPLETENESS               module:callable of yours that judges how complete a text is, from 0 to 1
  TURN_MODEL  TURN_MODEL_TIMEOUT_MS=250
                                  an end-of-turn model: an ONNX file of Smart Turn, or module:callable
  BARGE_IN=true  BARGE_IN_MIN_MS=300  BARGE_IN_MIN_WORDS=1  BARGE_IN_RESUME_MS=1000
                                  whether a caller who speaks stops the handler, after how much voice or how many
                                  words; and when it goes on if no words come
  SPECULATE_AFTER_MS=0            replies may start on an interim that has not changed for so long; 0: never
  AGENT_FAILURE_PROMPT            a WAV or .ulaw file played to the caller when the handler has failed
  FASTCALL_PORT=8080              the port, without --port
  WORKER_TIMEOUT_S=15             how long a worker may not respond before it is killed and restarted
  VAD_MODE=2  VAD_START_MS=60  VAD_HANGOVER_MS=500  VAD_PREROLL_MS=300  UTTERANCE_MAX_S=60

/console in a browser shows the live calls, and lets you talk to the server.
GET /healthz answers 200 while the server runs, /readyz while it accepts calls. SIGTERM or Ctrl-C gives live calls the
drain timeout to end, then closes them, keeps their last words, and exits; a second one does so at once.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port; 0 for a free one (default: FASTCALL_PORT, or 8080)")
    parser.add_argument("--path", default="/media", help="path of the WebSocket (default: %(default)s)")
    parser.add_argument(
        "--stt",
        choices=("auto", "google", "google-v2", "emulator"),
        default="auto",
        help="recognizer; auto: SPEECH_EMULATOR_HOST, else Google with Application Default Credentials, else embedded; "
        "google-v2: Google's API version 2 (models chirp_3, telephony, ...), or an emulator's, if one is named",
    )
    parser.add_argument(
        "--stt-endpoint", metavar="HOST:PORT", help="an emulator's address, or one of Google's endpoints"
    )
    uplink = "transport of the streams: native (libnghttp2), grpcio, or the first available (default: STT_UPLINK)"
    parser.add_argument("--uplink", choices=UPLINKS, help=uplink)
    parser.add_argument(
        "--handler",
        metavar="MODULE:CALLABLE",
        help="your agent, run for each call: async def agent(call), or a plain function, which runs in a thread",
    )
    parser.add_argument(
        "--fallback",
        metavar="MODULE:CALLABLE",
        help="your own fallback, plain or async: f(pcm, language) -> text; pcm is LINEAR16, 8 kHz mono",
    )
    parser.add_argument("--whisper-model", metavar="MODEL", help="overrides WHISPER_MODEL")
    parser.add_argument("--transcripts", metavar="FILE", help="append the transcript stream (NDJSON) to FILE")
    _configure_the_port(parser)
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="(default: %(default)s)")


def _configure_the_port(parser: argparse.ArgumentParser) -> None:
    """Options for access control, capacity and processes."""
    parser.add_argument(
        "--workers", default="1", metavar="N|auto", help="processes for the calls; auto: one per core (default: 1)"
    )
    parser.add_argument("--as-worker", help=argparse.SUPPRESS)
    parser.add_argument("--tls-cert", metavar="FILE", help="serve TLS: the certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument("--insecure", action="store_true", help="allow anyone to place calls, on any address")
    parser.add_argument("--insecure-twiml", action="store_true", help="give TwiML, and the token in it, to anyone")
    parser.add_argument("--max-calls", type=int, default=1500, metavar="N", help="calls at once (default: %(default)s)")
    parser.add_argument(
        "--max-lag-ms",
        type=int,
        default=200,
        metavar="MS",
        help="refuse calls while the event loop's lag exceeds this (default: %(default)s)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=float,
        default=25.0,
        metavar="S",
        help="how long calls may continue after SIGTERM (default: %(default)g)",
    )
    parser.add_argument(
        "--fast-path",
        choices=("on", "off"),
        default="on",
        help="parse ordinary media messages in compiled code; off: by websockets, slower, otherwise the same "
        "(default: %(default)s)",
    )


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    # Closing the terminal ends no calls. Not SIG_IGN, which programs started by a handler would inherit.
    signal.signal(signal.SIGHUP, lambda *_: None)
    check_names(environ)
    settings = Settings.from_environ(environ)
    if args.whisper_model:
        settings = replace(settings, whisper_model=args.whisper_model)
    if args.uplink:
        settings = replace(settings, stt_uplink=args.uplink)
    port = _port(args.port, environ.get("FASTCALL_PORT", ""))
    for name, value in (("--max-calls", args.max_calls), ("--max-lag-ms", args.max_lag_ms)):
        if value < 1:
            raise UsageError(f"{name} {value}: must be at least 1")
    if not 0 <= args.drain_timeout <= MAX_DRAIN_S:
        raise UsageError(f"--drain-timeout {args.drain_timeout:g}: must be from 0 to {MAX_DRAIN_S}")
    from fastcall.server.app import ServeOptions, serve, serve_as_worker
    from fastcall.server.systemd import ServiceManager

    if args.as_worker:
        control, connections = args.as_worker.split(",")
        return serve_as_worker(settings, (int(control), int(connections)), args.log_format)

    options = ServeOptions(
        host=args.host,
        port=port,
        path=args.path,
        stt=args.stt,
        stt_endpoint=args.stt_endpoint,
        handler=args.handler,
        fallback=args.fallback,
        transcripts=args.transcripts,
        log_format=args.log_format,
        insecure=args.insecure,
        insecure_twiml=args.insecure_twiml,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        max_calls=args.max_calls,
        max_lag_ms=args.max_lag_ms,
        drain_timeout_s=args.drain_timeout,
        workers=_workers(args.workers),
        fast_path=args.fast_path == "on",
    )
    return serve(settings, options, ServiceManager.from_environ(environ))


def _port(given: int | None, text: str) -> int:
    """The port of the option, else of the environment."""
    if given is not None:
        if not 0 <= given <= MAX_PORT:
            raise UsageError(f"--port {given}: must be from 0 to {MAX_PORT}")
        return given
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PORT):
        raise UsageError(f"FASTCALL_PORT={text!r}: must be from 0 to {MAX_PORT}")
    return int(text)


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_WORKERS:
        raise UsageError(f"--workers {text}: must be a number from 1 to {MAX_WORKERS}, or auto")
    return int(text)
