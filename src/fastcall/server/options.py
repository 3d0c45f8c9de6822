"""The options of ``fastcall serve``, validated before anything listens."""

from __future__ import annotations

import inspect
import ipaddress
import logging
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fastcall.agent.controller import Handler
from fastcall.audio.wav import read_audio
from fastcall.callables import load_callable
from fastcall.errors import UsageError
from fastcall.fallbacks import NO_FALLBACK
from fastcall.google.endpoints import is_google_host, speech_endpoint
from fastcall.settings import Settings
from fastcall.twilio.signature import PublicUrl
from fastcall.twilio.stream_tokens import check_secret

__all__ = [
    "ServeOptions",
    "check_exposure",
    "check_fallback",
    "choose_recognizer",
    "google_endpoint",
    "is_loopback",
    "load_handler",
    "load_prompt",
    "log_listening",
    "tls_context",
]

log = logging.getLogger("fastcall")

Recognizer = Literal["google", "emulator", "embedded", "none"]

RESERVED_PATHS = ("/healthz", "/readyz", "/metrics", "/events", "/twiml", "/console")
"""Paths that the port answers beside the WebSocket, and everything below ``/console``."""

# RFC 3986 section 3.3, without percent-encoding: a path is compared as sent.
_PATH = re.compile(r"/|(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?")


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
    insecure_twiml: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    max_calls: int = 1500
    max_lag_ms: int = 200
    drain_timeout_s: float = 25.0
    workers: int = 1
    fast_path: bool = True


def choose_recognizer(settings: Settings, options: ServeOptions) -> tuple[Recognizer, str | None]:
    """Which recognizer to use, and its endpoint: an emulator's, or a requested one of Google's.

    The flag, else ``--stt-endpoint``, else ``SPEECH_EMULATOR_HOST``, else Google where there are Application Default
    Credentials, else the embedded one, which is for this machine only.

    :raises UsageError: the choice cannot work
    """
    if not settings.enable_streaming_stt:
        return "none", None
    endpoint = options.stt_endpoint or (settings.speech_emulator_host if options.stt != "google" else None)
    if endpoint and ":" not in endpoint:
        raise UsageError(f"the recognizer's endpoint {endpoint!r} has no port: use HOST:PORT")
    is_googles = endpoint is not None and is_google_host(endpoint, settings.google_cloud_universe_domain)
    if options.stt == "emulator":
        if not endpoint:
            raise UsageError("--stt emulator needs --stt-endpoint HOST:PORT or SPEECH_EMULATOR_HOST")
        if is_googles:
            raise UsageError(f"{endpoint} is not an emulator: use --stt google or --stt google-v2")
        return "emulator", endpoint
    if options.stt == "google" or is_googles or (options.stt == "google-v2" and not endpoint):
        return "google", endpoint
    if endpoint:
        return "emulator", endpoint
    if settings.google_application_credentials or _has_default_credentials():
        return "google", None
    if not is_loopback(options.host):
        raise UsageError(
            f"no recognizer is set up, and the embedded one serves loopback only, not {options.host}: set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or SPEECH_EMULATOR_HOST to an emulator"
        )
    return "embedded", None


def _has_default_credentials() -> bool:
    from fastcall.google.credentials import has_default_credentials

    return has_default_credentials()


def google_endpoint(settings: Settings, options: ServeOptions) -> str:
    """Google's endpoint, if none is named.

    :raises UsageError: there is none for these settings
    """
    version = "v2" if options.stt == "google-v2" else "v1"
    return speech_endpoint(version, settings.stt_location, settings.google_cloud_universe_domain)


def check_fallback(settings: Settings, options: ServeOptions) -> None:
    """Whether a fallback is configured.

    :raises UsageError: streaming is off, and there is none
    """
    if not settings.enable_streaming_stt and not (options.fallback or settings.whisper_model):
        raise UsageError(f"ENABLE_STREAMING_STT=false needs a fallback: {NO_FALLBACK}")


def check_exposure(settings: Settings, options: ServeOptions) -> None:
    """Check that paths, addresses and secrets can work, and that strangers cannot place calls.

    :raises UsageError: one cannot work, or strangers could place calls and ``--insecure`` is not given
    """
    _check_path(options.path)
    if settings.fallback_url:
        _check_fallback_url(settings.fallback_url)
    if settings.admin_token:
        check_secret("FASTCALL_ADMIN_TOKEN", settings.admin_token)
    if settings.public_url:
        url = PublicUrl.parse(settings.public_url)
        if not url.is_secure and not is_loopback(url.host.strip("[]")):
            raise UsageError(
                f"FASTCALL_PUBLIC_URL={url}: Twilio opens streams over wss:// only; use https://HOST, with TLS from a "
                "proxy, a tunnel or --tls-cert"
            )
    if settings.twilio_auth_tokens and not settings.public_url:
        raise UsageError(
            "TWILIO_AUTH_TOKEN is set, but not FASTCALL_PUBLIC_URL, which Twilio's signatures cover: set it to the "
            "https://HOST at which Twilio reaches this server"
        )
    is_guarded = settings.twilio_auth_tokens or settings.stream_secret
    if not is_guarded and not options.insecure and not is_loopback(options.host):
        raise UsageError(
            f"on {options.host} anyone could place calls: set TWILIO_AUTH_TOKEN and FASTCALL_PUBLIC_URL (or "
            "FASTCALL_STREAM_SECRET), or listen on 127.0.0.1, or use --insecure"
        )


def _check_path(path: str) -> None:
    if not path.startswith("/"):
        raise UsageError(f"--path {path}: a path must begin with a slash; use --path /{path.lstrip('./')}")
    if not _PATH.fullmatch(path):
        raise UsageError(f"--path {path}: use letters, digits, dots and dashes between single slashes, such as /media")
    plain = path.rstrip("/")
    if plain in RESERVED_PATHS or plain.startswith("/console/"):
        raise UsageError(f"--path {path}: the server uses this path for something else; choose another, such as /media")


def _check_fallback_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", text)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"FASTCALL_FALLBACK_URL={text}: must be the https:// address of the TwiML to continue with")


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
    """The callable that ``module:callable`` names: ``async def`` (runs on the event loop) or plain (in a thread).

    :raises UsageError: it does not exist, or does not take one argument, the call
    """
    handler = load_callable("--handler", name)
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        raise UsageError(f"--handler {name!r} is not a function of one argument, the call: {error}") from error
    except ValueError:
        pass  # a C function may have no signature
    checked: Handler = handler
    return checked


def load_prompt(path: str | None) -> bytes:
    """The audio that ``AGENT_FAILURE_PROMPT`` names, as mu-law; empty without it.

    :raises UsageError: it cannot be used
    """
    if path is None:
        return b""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"AGENT_FAILURE_PROMPT={path}: {error.strerror}") from error
    return read_audio(data, path)


def log_listening(settings: Settings, options: ServeOptions, port: int, recognizer: str) -> None:
    """Log the addresses, once the server is ready."""
    scheme = "wss" if options.tls_cert else "ws"
    log.info("listening on %s://%s:%d%s, %s", scheme, options.host, port, options.path, recognizer)
    if settings.admin_token or (not settings.public_url and is_loopback(options.host)):
        page = "https" if options.tls_cert else "http"
        log.info("console, with a test phone: %s://%s:%d/console", page, options.host, port)
    is_guarded = settings.twilio_auth_tokens or settings.stream_secret
    if not is_guarded and (settings.public_url or not is_loopback(options.host)):
        log.warning("anyone who can reach this server can place calls: set TWILIO_AUTH_TOKEN or FASTCALL_STREAM_SECRET")
    if (
        settings.public_url
        and settings.stream_secret
        and not settings.twilio_auth_tokens
        and not options.insecure_twiml
    ):
        log.warning(
            "/twiml is disabled: it would give a token to anyone. Set TWILIO_AUTH_TOKEN, so that Twilio's requests can "
            "be verified; or create tokens for your own TwiML (fastcall token); or use --insecure-twiml"
        )
