"""Which credentials are found, and where they lead."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from google.cloud import speech_v1p1beta1 as speech
from google.oauth2.credentials import Credentials

from fastcall import StreamingSTTSession
from fastcall.audio.tones import synthesize
from fastcall.errors import UsageError
from fastcall.google.credentials import has_default_credentials
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.server import call_runner
from fastcall.settings import Settings
from h2peer import H2Peer, h2_server
from peers import KEY, PATIENCE_S, Phone, both_uplinks, serve_process, serving, tones


def some(universe: str | None = None) -> Any:
    made = Credentials("token", refresh_token="r", token_uri="http://127.0.0.1:1/", client_id="c", client_secret="s")  # type: ignore[no-untyped-call]
    return made if universe is None else made.with_universe_domain(universe)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("version", "settings", "address"),
    [
        ("v1", {}, "speech.googleapis.com:443"),
        ("v1", {"location": "eu"}, "eu-speech.googleapis.com:443"),
        ("v1", {"endpoint": "eu-speech.googleapis.com:443"}, "eu-speech.googleapis.com:443"),
        ("v2", {"location": "us", "project": "p"}, "us-speech.googleapis.com:443"),
        ("v2", {"location": "us", "project": "p", "endpoint": "10.1.2.3:443"}, "10.1.2.3:443"),
    ],
)
@both_uplinks
async def test_streams_go_where_the_settings_say(
    uplink: str, version: str, settings: dict[str, Any], address: str
) -> None:
    recognizer = GoogleRecognizer.create(version, credentials=some(), uplink=uplink, **settings)
    assert recognizer.address == address
    await recognizer.aclose()


@pytest.mark.parametrize(
    ("version", "settings", "words"),
    [
        ("v1", {"location": "europe-west4"}, "^GCP_STT_LOCATION=europe-west4: version 1"),
        ("v1", {"location": "eu", "endpoint": "x:443"}, "^GCP_STT_LOCATION=eu and the endpoint x:443: set only one"),
        ("v1", {"location": "a/b"}, "^GCP_STT_LOCATION='a/b'"),
        ("v2", {}, "set GOOGLE_CLOUD_PROJECT$"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(version: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GoogleRecognizer.create(version, credentials=some(), **settings)


async def test_credentials_and_endpoint_are_of_one_universe() -> None:
    """As Google's own client has it: one that differs is refused, and the token does not leave."""
    recognizer = GoogleRecognizer.create(credentials=some("apis.example"), universe_domain="apis.example")
    assert recognizer.address == "speech.apis.example:443"
    await recognizer.aclose()
    with pytest.raises(UsageError, match=r"set GOOGLE_CLOUD_UNIVERSE_DOMAIN=apis\.example"):
        GoogleRecognizer.create(credentials=some("apis.example"))
    with pytest.raises(UsageError, match=r"of the universe googleapis\.com, the endpoint is of apis\.example"):
        GoogleRecognizer.create(credentials=some(), universe_domain="apis.example")


def test_application_default_credentials_are_found_by_their_signs(tmp_path: Path) -> None:
    home, nothing, product = tmp_path / "home", tmp_path / "nothing", tmp_path / "product_name"
    empty = {"HOME": str(home)}
    assert not has_default_credentials(empty, nothing)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "K_SERVICE"):
        assert has_default_credentials({**empty, name: "x"}, nothing)
    # A virtual machine of Google's, or a pod of GKE with its workload identity.
    product.write_text("Google Compute Engine\n")
    assert has_default_credentials(empty, product)
    assert not has_default_credentials({**empty, "NO_GCE_CHECK": "true"}, product)
    product.write_text("KVM\n")
    assert not has_default_credentials(empty, product)
    # gcloud auth application-default login
    sdk = tmp_path / "sdk"
    for folder, environ in ((home / ".config" / "gcloud", empty), (sdk, {"CLOUDSDK_CONFIG": str(sdk)})):
        folder.mkdir(parents=True)
        (folder / "application_default_credentials.json").write_text("{}")
        assert has_default_credentials(environ, nothing)


def test_phrases_and_languages_are_lists_with_googles_bounds() -> None:
    settings = Settings.from_environ(
        {"GCP_STT_PHRASES": "book a table, Zichron Ya'akov ,", "GCP_STT_ALTERNATIVE_LANGUAGE_CODES": "en-US,ar-IL"}
    )
    assert settings.phrases == ("book a table", "Zichron Ya'akov")
    assert settings.alternative_language_codes == ("en-US", "ar-IL")
    assert Settings.from_environ({}).phrases == ()
    with pytest.raises(UsageError, match=r"^GCP_STT_ALTERNATIVE_LANGUAGE_CODES: at most 3"):
        Settings(alternative_language_codes=("de-DE", "en-US", "fr-FR", "ar-IL"))
    for phrases in (("x",) * 5001, ("x" * 101,)):
        with pytest.raises(UsageError, match=r"^GCP_STT_PHRASES: at most 5000"):
            Settings(phrases=phrases)


class FirstRequest:
    """A peer that keeps the first request of the first stream, and hangs up."""

    def __init__(self) -> None:
        self._came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def __call__(self, peer: H2Peer, event: Any) -> None:
        body = bytes(next(iter(peer.bodies.values()), b""))
        if len(body) > 5 and len(body) >= 5 + int.from_bytes(body[1:5]) and not self._came.done():
            self._came.set_result(body[5 : 5 + int.from_bytes(body[1:5])])
            peer.transport.close()

    async def phrases_and_languages(self) -> tuple[list[str], list[str]]:
        async with asyncio.timeout(PATIENCE_S):
            request = speech.StreamingRecognizeRequest.deserialize(await self._came)
        config = request.streaming_config.config
        return list(config.speech_contexts[0].phrases), list(config.alternative_language_codes)


@both_uplinks
async def test_a_calls_first_request_has_the_phrases_and_the_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    monkeypatch.setattr(call_runner, "CLOSE_TIMEOUT_S", 0.1)  # no words come
    first = FirstRequest()
    async with h2_server(first) as (port, _):
        settings: dict[str, Any] = {"phrases": ("book a table",), "alternative_language_codes": ("ar-IL",)}
        async with serving(f"127.0.0.1:{port}", **settings) as served, Phone(served.url, "phrases") as phone:
            await phone.start()
            await phone.say(tones("[300] apple [300]"))
            assert await first.phrases_and_languages() == (["book a table"], ["ar-IL"])


@both_uplinks
async def test_a_sessions_first_request_has_its_phrases(uplink: str) -> None:
    first = FirstRequest()
    async with h2_server(first) as (port, _):
        settings = Settings(
            speech_emulator_host=f"127.0.0.1:{port}",
            stt_uplink=uplink,
            stt_tls_roots=None,
            phrases=("not these",),
            alternative_language_codes=("ar-IL",),
        )
        session = StreamingSTTSession(settings=settings, phrases=["book a table"])
        session.push_audio(synthesize("[300] apple [300]"))
        try:
            assert await first.phrases_and_languages() == (["book a table"], ["ar-IL"])
        finally:
            await asyncio.to_thread(session.close)


def key_file(folder: Path, universe: str) -> str:
    """A service account's, whose tokens nobody gives."""
    info = {"type": "service_account", "client_email": "calls@project.example", "token_uri": "http://127.0.0.1:1/"}
    path = folder / "key.json"
    path.write_text(json.dumps({**info, "private_key": Path(KEY).read_text(), "universe_domain": universe}))
    return str(path)


async def test_a_server_goes_where_the_settings_say(tmp_path: Path) -> None:
    """It says where; nothing is sent there before a call comes, and the name is one that nobody has."""
    async with serve_process(
        GOOGLE_APPLICATION_CREDENTIALS=key_file(tmp_path, "apis.example"),
        GCP_STT_LOCATION="eu",
        GOOGLE_CLOUD_UNIVERSE_DOMAIN="apis.example",
    ) as process:
        assert process.wait_for("recognizer google at (.*?) ")[1] == "eu-speech.apis.example:443"
