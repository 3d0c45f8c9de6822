"""What ``fastcall serve`` was told, and whether that can work: checked before anything listens."""

from __future__ import annotations

import inspect
import ipaddress
import logging
import ssl
from dataclasses import dataclass
from typing import Literal

from fastcall.drivers.runner import Handler
from fastcall.errors import UsageError
from fastcall.fallbacks import NO_FALLBACK, load_callable
from fastcall.rules.signature import PublicUrl
from fastcall.settings import Settings

__all__ = [
    "ServeOptions",
    "check_exposure",
    "check_fallback",
    "choose_recogniser",
    "is_loopback",
    "load_handler",
    "tell_where",
    "tls_context",
]

log = logging.getLogger("fastcall")

Recogniser = Literal["google", "emulator", "embedded", "none"]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The command line of ``fastcall serve``."""

    host: str = "127.0.0.1"
    port: int = 8080
    path: str = "/media"
    stt: str = "auto"
    stt_endpoint: str | None = None
    handler: str | None = None
    fallback: str | None = None
    transcripts: str | None = None
    log_format: str = "text"
    insecure: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    max_calls: int = 1500
    max_lag_ms: int = 200
    drain_timeout_s: float = 25.0
    workers: int = 1
    hot_lane: bool = True


def choose_recogniser(settings: Settings, options: ServeOptions) -> tuple[Recogniser, str | None]:
    """Which recogniser to use, and the endpoint where one is needed.

    The flag, else ``SPEECH_EMULATOR_HOST``, else ``GOOGLE_APPLICATION_CREDENTIALS``, else the embedded one, which is
    for this machine only.

    :raises UsageError: the choice cannot work
    """
    if not settings.enable_streaming_stt:
        return "none", None
    endpoint = options.stt_endpoint or settings.speech_emulator_host
    if options.stt == "google" or (options.stt == "google-v2" and not endpoint):
        return "google", None
    if endpoint and ":" not in endpoint:
        raise UsageError(f"the recogniser's endpoint {endpoint!r} has no port: say HOST:PORT")
    if options.stt == "emulator" and not endpoint:
        raise UsageError("--stt emulator needs --stt-endpoint HOST:PORT or SPEECH_EMULATOR_HOST")
    if endpoint:
        return "emulator", endpoint
    if settings.google_application_credentials:
        return "google", None
    if not is_loopback(options.host):
        raise UsageError(
            f"no recogniser is set up, and the embedded one serves loopback only, not {options.host}: set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or SPEECH_EMULATOR_HOST to an emulator"
        )
    return "embedded", None


def check_fallback(settings: Settings, options: ServeOptions) -> None:
    """Whether somebody recognises what no stream does.

    :raises UsageError: streaming is off, and nobody does
    """
    if not settings.enable_streaming_stt and not (options.fallback or settings.whisper_model):
        raise UsageError(f"ENABLE_STREAMING_STT=false needs a fallback: {NO_FALLBACK}")


def check_exposure(settings: Settings, options: ServeOptions) -> None:
    """Whether strangers could place calls.

    :raises UsageError: they could, and nobody said that they may
    """
    if settings.public_url:
        PublicUrl.parse(settings.public_url)
    if settings.twilio_auth_tokens and not settings.public_url:
        raise UsageError(
            "TWILIO_AUTH_TOKEN is set, but not FASTCALL_PUBLIC_URL, which Twilio's signatures are made for: set it to "
            "https://HOST as Twilio reaches this server"
        )
    is_guarded = settings.twilio_auth_tokens or settings.stream_secret
    if not is_guarded and not options.insecure and not is_loopback(options.host):
        raise UsageError(
            f"on {options.host} anyone could place calls: set TWILIO_AUTH_TOKEN and FASTCALL_PUBLIC_URL (or "
            "FASTCALL_STREAM_SECRET), or listen on 127.0.0.1, or say --insecure"
        )


def tls_context(options: ServeOptions) -> ssl.SSLContext | None:
    """The TLS that ``--tls-cert`` and ``--tls-key`` describe; None without them.

    :raises UsageError: they cannot be used
    """
    if not options.tls_cert:
        if options.tls_key:
            raise UsageError("--tls-key needs --tls-cert FILE")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        key = f" with --tls-key {options.tls_key}" if options.tls_key else ""
        raise UsageError(f"--tls-cert {options.tls_cert}{key} cannot be used: {why}") from error
    return context


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host`` (a name or an address)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_handler(name: str) -> Handler:
    """The callable that ``module:callable`` names.

    :raises UsageError: there is none, or it is not ``async def handler(call)``
    """
    handler = load_callable("--handler", name)
    if not inspect.iscoroutinefunction(handler):
        raise UsageError(f"--handler {name!r} is not an `async def` function of one argument, the call")
    checked: Handler = handler
    return checked


def tell_where(settings: Settings, options: ServeOptions, port: int, recogniser: str) -> None:
    """The log line for those who wait for the server to be there."""
    scheme = "wss" if options.tls_cert else "ws"
    log.info("listening on %s://%s:%d%s, %s", scheme, options.host, port, options.path, recogniser)
    if settings.admin_token or (not settings.public_url and is_loopback(options.host)):
        page = "https" if options.tls_cert else "http"
        log.info("the live calls, and a telephone to try: %s://%s:%d/console", page, options.host, port)
    is_guarded = settings.twilio_auth_tokens or settings.stream_secret
    if not is_guarded and (settings.public_url or not is_loopback(options.host)):
        log.warning("whoever reaches this server can place calls: set TWILIO_AUTH_TOKEN or FASTCALL_STREAM_SECRET")
