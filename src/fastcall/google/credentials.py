"""Google credentials: what this machine has, and whether they match the endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google.auth
import google.auth.credentials
import google.auth.exceptions

from fastcall.errors import UsageError
from fastcall.google.endpoints import DEFAULT_UNIVERSE

__all__ = ["default_credentials", "fit", "has_default_credentials"]

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# The kernel's name for the machine; identifies Compute Engine and GKE nodes.
PRODUCT_NAME = Path("/sys/class/dmi/id/product_name")
# Set where there is a metadata server: for google-auth, and by Cloud Run and App Engine.
METADATA_VARIABLES = (
    "GCE_METADATA_HOST",
    "GCE_METADATA_ROOT",
    "GCE_METADATA_IP",
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "GAE_SERVICE",
)


def default_credentials() -> tuple[Any, str | None]:
    """Application Default Credentials and their project. May query the metadata server: not for an event loop's thread.

    :raises UsageError: there are none
    """
    try:
        credentials, project = google.auth.default(scopes=SCOPES)
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise UsageError(
            f"no usable Google credentials ({str(error).splitlines()[0]}): set GOOGLE_APPLICATION_CREDENTIALS to the "
            "key file of a service account, or SPEECH_EMULATOR_HOST to an emulator"
        ) from error
    return credentials, project


def fit(credentials: Any, universe_domain: str | None) -> Any:
    """The same credentials, scoped for Speech-to-Text. May query the metadata server, as above.

    :param credentials: google-auth's; scopes are added where required
    :raises UsageError: they belong to another universe than the endpoint
    """
    scope: Any = google.auth.credentials.with_scopes_if_required
    scoped = scope(credentials, SCOPES)
    try:
        theirs = getattr(scoped, "universe_domain", DEFAULT_UNIVERSE)
    except google.auth.exceptions.GoogleAuthError:
        return scoped  # the metadata server does not respond now; the universe is checked with the token
    ours = universe_domain or DEFAULT_UNIVERSE
    if theirs != ours:
        raise UsageError(
            f"the credentials belong to the universe {theirs}, the endpoint to {ours}: set "
            f"GOOGLE_CLOUD_UNIVERSE_DOMAIN={theirs}, or use others"
        )
    return scoped


def has_default_credentials(environ: Mapping[str, str] = os.environ, product_name: Path = PRODUCT_NAME) -> bool:
    """Whether ``default_credentials`` would probably find some. Sends no request and returns at once.

    It looks for a variable or gcloud's file, and for signs of a metadata server: Compute Engine, GKE with workload
    identity, Cloud Run, App Engine.
    """
    if environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return True
    folder = Path(environ.get("CLOUDSDK_CONFIG") or Path(environ.get("HOME") or Path.home()) / ".config" / "gcloud")
    if (folder / "application_default_credentials.json").is_file():
        return True
    if environ.get("NO_GCE_CHECK") == "true":
        return False
    if any(environ.get(name) for name in METADATA_VARIABLES):
        return True
    try:
        return product_name.read_text().startswith("Google")
    except OSError:
        return False
