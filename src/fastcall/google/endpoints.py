"""Google's Speech-to-Text endpoints: ``host:port`` by version, location and universe.

Sources: https://cloud.google.com/speech-to-text/docs/endpoints (version 1: global, us, eu),
https://cloud.google.com/speech-to-text/v2/docs/locations, google-api-core's ``universe`` module.
"""

from __future__ import annotations

from fastcall.errors import UsageError

__all__ = ["DEFAULT_UNIVERSE", "GLOBAL", "V1_REGIONS", "is_google_host", "speech_endpoint"]

DEFAULT_UNIVERSE = "googleapis.com"
GLOBAL = "global"
# Version 1's only regional endpoints.
V1_REGIONS = ("us", "eu")


def speech_endpoint(version: str, location: str = GLOBAL, universe_domain: str | None = None) -> str:
    """Google's own endpoint.

    :param version: ``v1`` (v1p1beta1 too) or ``v2``
    :param location: ``global``, ``us``, ``eu`` or, for v2, a region such as ``europe-west4``
    :param universe_domain: by default ``googleapis.com``
    :raises UsageError: the version has no such endpoint, or a part is not valid in a host name
    """
    if not _is_label(location):
        raise UsageError(f"GCP_STT_LOCATION={location!r}: use a location such as us or europe-west4, not a host")
    domain = universe_domain or DEFAULT_UNIVERSE
    if not all(map(_is_label, domain.split("."))):
        raise UsageError(f"GOOGLE_CLOUD_UNIVERSE_DOMAIN={domain!r}: use a domain such as {DEFAULT_UNIVERSE}")
    if version == "v1" and location not in (GLOBAL, *V1_REGIONS):
        raise UsageError(
            f"GCP_STT_LOCATION={location}: version 1 of the API has global, {' and '.join(V1_REGIONS)} only; use one "
            "of them, or --stt google-v2"
        )
    prefix = "" if location == GLOBAL else f"{location}-"
    return f"{prefix}speech.{domain}:443"


def is_google_host(endpoint: str, universe_domain: str | None = None) -> bool:
    """Whether ``host:port`` is one of Google's, which requires TLS and credentials."""
    host = endpoint.rpartition(":")[0].lower().rstrip(".")
    return f".{host}".endswith(f".{universe_domain or DEFAULT_UNIVERSE}")


def _is_label(text: str) -> bool:
    return text.isascii() and text.replace("-", "").isalnum()
