"""A StreamingRecognize of version 1 that tells what the test has written, when so much audio has come."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent import futures
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.cloud import speech_v1p1beta1 as speech

from peers import CERTIFICATE, KEY, way

METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"

Result = speech.StreamingRecognitionResult
Script = Sequence[tuple[float, Sequence[Result]]]


def result(
    text: str, *, final: bool, end_s: float | None = None, words: Sequence[tuple[str, float | None, float | None]] = ()
) -> Result:
    """One result; what is None is left out of the message."""

    def time(seconds: float | None) -> timedelta | None:
        return None if seconds is None else timedelta(seconds=seconds)

    infos = [speech.WordInfo(word=word, start_time=time(start), end_time=time(end)) for word, start, end in words]
    best = speech.SpeechRecognitionAlternative(transcript=text, words=infos)
    return Result(alternatives=[best], is_final=final, result_end_time=time(end_s))


class _Scripted(grpc.GenericRpcHandler):
    def __init__(self, script: Script) -> None:
        self._script = script

    def service(self, details: Any) -> Any:
        if details.method != METHOD:
            return None

        def tell(requests: Any, context: Any) -> Iterator[bytes]:
            left = list(self._script)
            heard_s = 0.0
            for request in map(speech.StreamingRecognizeRequest.deserialize, requests):
                heard_s += len(request.audio_content) / 16_000
                while left and heard_s >= left[0][0]:
                    response = speech.StreamingRecognizeResponse(results=left.pop(0)[1])
                    yield bytes(speech.StreamingRecognizeResponse.serialize(response))

        return grpc.stream_stream_rpc_method_handler(tell)


@contextlib.contextmanager
def scripted_speech(script: Script) -> Iterator[str]:
    """Its address. Each stream begins the script anew; the times are those of its own audio, in seconds."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((_Scripted(script),))
    if way()["stt_tls_roots"]:
        pair = (Path(KEY).read_bytes(), Path(CERTIFICATE).read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials((pair,)))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
