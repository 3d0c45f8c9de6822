"""Every fault on a real wire: what the client sees, to the letter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
import pytest
from hyperframe.frame import PingFrame, SettingsFrame

from fastcall.audio.tones import synthesize
from fastcall.emulator.faults import parse_faults
from fastcall.emulator.grpc_server import PREFACE
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from speech_clients import PATIENCE_S, HeldStream

TWO = "apple arrow [700] badge bamboo [700]"
QUOTA = (
    "Quota exceeded for quota metric 'speech.googleapis.com/default_requests' and limit "
    "'DefaultRequestsPerMinutePerProject' of service 'speech.googleapis.com' for consumer 'project_number:0'."
)


@contextlib.asynccontextmanager
async def emulating(*faults: dict[str, Any], **options: Any) -> AsyncIterator[Emulator]:
    async with Emulator(Options(port=0, **options), faults=parse_faults(list(faults))) as emulator:
        yield emulator


def channel_to(emulator: Emulator) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(emulator.target, options=[("grpc.use_local_subchannel_pool", 1)])


async def whole(channel: grpc.aio.Channel, text: str = TWO) -> tuple[HeldStream, tuple[str, str]]:
    """A stream from its beginning to its end."""
    async with HeldStream(channel) as stream:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.say(synthesize(text))
            await stream.half_close()
        return stream, await stream.end()


async def test_a_status_at_an_audio_offset_on_the_second_stream() -> None:
    fault = {"fault": "status", "stream": 2, "at_s": 1.0, "code": "UNAVAILABLE", "message": "Out for lunch."}
    async with emulating(fault) as emulator, channel_to(emulator) as channel:
        _, end = await whole(channel)
        assert end == ("OK", "")
        async with HeldStream(channel) as stream:
            await stream.say(synthesize("apple arrow [550]"))  # 0.95 s
            await stream.read_until(lambda seen: seen.interims[-1:] == ["apple arrow"])
            await stream.say(bytes(1600))
            assert await stream.end() == ("UNAVAILABLE", "Out for lunch.")
        assert emulator.state.faults.fired == {"status": 1}
        _, end = await whole(channel)
        assert end == ("OK", "")


async def test_no_quota() -> None:
    async with emulating({"fault": "quota", "times": 1}) as emulator, channel_to(emulator) as channel:
        async with HeldStream(channel) as stream:
            assert await stream.end() == ("RESOURCE_EXHAUSTED", QUOTA)
        _, end = await whole(channel)
        assert end == ("OK", "")


async def test_a_reset_ends_all_streams_of_the_connection() -> None:
    async with emulating({"fault": "reset", "stream": 2, "at_s": 0.5}) as emulator:
        async with (
            channel_to(emulator) as channel,
            channel_to(emulator) as other,
            HeldStream(channel) as first,
            HeldStream(channel) as second,
            HeldStream(other) as third,
        ):
            await first.say(synthesize("apple [300]"))
            await first.read()
            await second.say(synthesize("arrow [300]"))  # the last of it is at 0.5 s
            for stream in (first, second):
                code, text = await stream.end()
                assert code == "UNAVAILABLE"
                assert "reset" in text.lower()
            await third.say(synthesize("badge [700]"))
            await third.half_close()
            assert await third.end() == ("OK", "")
        assert emulator.state.ended == {"RESET": 1, "CANCELLED": 1, "OK": 1}
        assert emulator.state.admission.open_streams == 0


async def test_goaway_lets_streams_go_on_and_sends_new_ones_elsewhere() -> None:
    async with (
        emulating({"fault": "goaway", "stream": 1}) as emulator,
        channel_to(emulator) as channel,
        HeldStream(channel) as first,
    ):
        await first.say(synthesize("apple [700]"))
        await first.read_until(lambda seen: seen.finals == ["apple"])
        _, end = await whole(channel)  # of another connection, which the client made by itself
        assert end == ("OK", "")
        assert emulator.state.faults.fired == {"goaway": 1}
        await first.say(synthesize("arrow [700]"))
        await first.half_close()
        assert await first.end() == ("OK", "")
        assert first.seen.finals == ["apple", "arrow"]


async def test_a_stall_says_nothing_and_takes_everything() -> None:
    async with emulating({"fault": "stall", "at_s": 0.8}) as emulator, channel_to(emulator) as channel:
        async with HeldStream(channel) as stream:
            await stream.say(synthesize("apple arrow [300]"))
            await stream.read_until(lambda seen: seen.interims[-1:] == ["apple arrow"])
            await stream.say(synthesize("[700] badge [700]"))
            await stream.half_close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.call.read(), 0.5)
        assert emulator.state.faults.fired == {"stall": 1}


async def test_after_a_stall_everything_comes() -> None:
    async with emulating({"fault": "stall", "for_s": 0.4}) as emulator, channel_to(emulator) as channel:
        begin = asyncio.get_running_loop().time()
        stream, end = await whole(channel)
        assert asyncio.get_running_loop().time() - begin >= 0.4
        assert end == ("OK", "")
        assert stream.seen.finals == ["apple arrow", "badge bamboo"]


async def test_a_slow_accept() -> None:
    async with emulating({"fault": "slow_accept", "delay_s": 0.4}) as emulator, channel_to(emulator) as channel:
        begin = asyncio.get_running_loop().time()
        async with HeldStream(channel) as stream:
            await asyncio.wait_for(stream.call.initial_metadata(), PATIENCE_S)
            assert asyncio.get_running_loop().time() - begin >= 0.4
            await stream.say(synthesize("apple [700]"))
            await stream.half_close()
            assert await stream.end() == ("OK", "")
            assert stream.seen.finals == ["apple"]


async def test_what_comes_before_a_slow_accept_is_not_lost() -> None:
    async with emulating({"fault": "slow_accept", "delay_s": 0.3}) as emulator, channel_to(emulator) as channel:
        stream, end = await whole(channel)
        assert end == ("OK", "")
        assert stream.seen.finals == ["apple arrow", "badge bamboo"]


async def test_connections_are_refused_for_a_time_and_open_streams_go_on() -> None:
    async with emulating() as emulator, channel_to(emulator) as channel:
        async with HeldStream(channel) as stream:
            await stream.say(synthesize("apple [300]"))
            await stream.read()
            status, _ = await http(emulator, "POST", "/faults/now", {"fault": "refuse_connections", "for_s": 0.5})
            assert status == 200
            code, text = "", ""
            while "refused" not in text.lower():  # until the fault is in force
                async with channel_to(emulator) as refused, HeldStream(refused) as other:
                    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        await other.half_close()
                    code, text = await other.end()
            assert code == "UNAVAILABLE"
            await stream.say(synthesize("arrow [700]"))
            await stream.half_close()
            assert await stream.end() == ("OK", "")
            assert stream.seen.finals == ["apple arrow"]
        async with channel_to(emulator) as again:
            await asyncio.wait_for(again.channel_ready(), PATIENCE_S)
            _, end = await whole(again)
            assert end == ("OK", "")


async def test_connections_are_refused_by_the_scenario() -> None:
    async with emulating({"fault": "refuse_connections", "for_s": 0.5}) as emulator:
        async with channel_to(emulator) as channel:
            await asyncio.wait_for(channel.channel_ready(), PATIENCE_S)
            _, end = await whole(channel)
            assert end == ("OK", "")
        assert emulator.state.faults.fired == {"refuse_connections": 1}


async def test_a_final_that_never_comes() -> None:
    async with emulating({"fault": "no_final", "final": 1}) as emulator, channel_to(emulator) as channel:
        stream, end = await whole(channel)
        assert end == ("OK", "")
        assert stream.seen.finals == ["badge bamboo"]
        assert "apple arrow" in stream.seen.interims
        stream, _ = await whole(channel, "apple [100]")  # not even at the half-close
        assert stream.seen.finals == []


async def test_a_final_after_the_next_utterance_began() -> None:
    async with emulating({"fault": "late_final", "final": 1}) as emulator, channel_to(emulator) as channel:
        async with HeldStream(channel) as stream:
            await stream.say(synthesize("apple arrow [1500] badge [100]"))
            await stream.read_until(lambda seen: "apple arrow badge" in seen.interims)
            assert stream.seen.finals == []
            await stream.read_until(lambda seen: seen.finals == ["apple arrow"])
            rest = stream.seen.responses[-1].results
            assert [result.alternatives[0].transcript for result in rest] == ["apple arrow", " badge"]
            assert [result.is_final for result in rest] == [True, False]
            await stream.half_close()
            assert await stream.end() == ("OK", "")
            assert stream.seen.finals == ["apple arrow", "badge"]
        stream, _ = await whole(channel, "apple [700]")  # no next utterance: it comes with the half-close
        assert stream.seen.finals == ["apple"]


async def test_results_twice() -> None:
    async with emulating({"fault": "duplicate"}) as emulator, channel_to(emulator) as channel:
        stream, end = await whole(channel)
        assert end == ("OK", "")
        results = [response for response in stream.seen.responses if response.results]
        assert results[0::2] == results[1::2]
        assert stream.seen.finals == ["apple arrow"] * 2 + ["badge bamboo"] * 2


async def test_faults_of_chance_follow_the_seed() -> None:
    async def outcomes(seed: int) -> list[str]:
        fault = {"fault": "status", "probability": 0.5, "code": "INTERNAL"}
        async with emulating(fault, seed=seed) as emulator, channel_to(emulator) as channel:
            return [(await whole(channel, "apple"))[1][0] for _ in range(8)]

    first = await outcomes(1)
    assert set(first) == {"OK", "INTERNAL"}
    assert await outcomes(1) == first
    assert await outcomes(2) != first


# --- control calls -----------------------------------------------------------------------------------------------


async def http(
    emulator: Emulator, method: str, path: str, body: Any = None, *, kind: str = "application/json"
) -> tuple[int, str]:
    """Status and text of one HTTP request."""
    reader, writer = await asyncio.open_connection(emulator.options.host, emulator.port)
    data = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    answer = (await asyncio.wait_for(reader.read(), PATIENCE_S)).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[2]


async def test_faults_are_armed_and_disarmed_while_it_runs() -> None:
    async with emulating() as emulator, channel_to(emulator) as channel:
        await whole(channel, "apple")
        fault = {"fault": "status", "stream": 1, "code": "ABORTED", "message": "by control"}
        assert await http(emulator, "POST", "/faults", [fault]) == (200, '{"armed": 1}\n')
        assert json.loads((await http(emulator, "GET", "/faults"))[1]) == {"faults": [fault]}
        async with HeldStream(channel) as stream:  # the first stream since the call
            assert await stream.end() == ("ABORTED", "by control")
        assert await http(emulator, "POST", "/faults", {"fault": "quota"}) == (200, '{"armed": 1}\n')
        assert await http(emulator, "DELETE", "/faults") == (200, '{"armed": 0}\n')
        _, end = await whole(channel, "apple")
        assert end == ("OK", "")


@pytest.mark.parametrize(
    ("chunks", "status"),
    [([b'{"fault":', b' "quota"}'], 200), ([b'{"fault":', b"}"], 400), ([b" " * 65_536] * 5, 413), ([b"x"], 400)],
)
async def test_a_body_may_come_in_chunks(chunks: list[bytes], status: int) -> None:
    head = b"POST /faults HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with emulating() as emulator:
        reader, writer = await asyncio.open_connection(emulator.options.host, emulator.port)
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for chunk in [*chunks, b""]:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        assert int(answer.split(b" ")[1]) == status
        assert len(emulator.state.faults.armed) == (status == 200)


async def test_faults_happen_at_once_to_open_streams() -> None:
    async with (
        emulating() as emulator,
        channel_to(emulator) as channel,
        HeldStream(channel) as first,
        HeldStream(channel) as second,
    ):
        for stream in (first, second):
            await stream.say(synthesize("apple [300]"))
            await stream.read()
        fault = {"fault": "status", "code": "UNAVAILABLE", "message": "now"}
        assert await http(emulator, "POST", "/faults/now", fault) == (200, '{"streams": 2}\n')
        for stream in (first, second):
            assert await stream.end() == ("UNAVAILABLE", "now")


async def test_the_status_tells_streams_audio_and_faults() -> None:
    async with emulating({"fault": "duplicate", "stream": 1}) as emulator, channel_to(emulator) as channel:
        await whole(channel, "apple [300]")
        async with HeldStream(channel) as stream:
            await stream.say(bytes(16_000))
            await stream.say(synthesize("apple [300]"))
            await stream.read()
            status = json.loads((await http(emulator, "GET", "/status"))[1])
            assert status == {
                "engine": "tones",
                "streams": {"open": 1, "opened": 2, "ended": {"OK": 1}},
                "audio_s": 2.0,
                "faults": {"fired": {"duplicate": 2}, "armed": [{"fault": "duplicate", "stream": 1}]},
            }
            code, page = await http(emulator, "GET", "/")
            assert code == 200
            assert "streams  1 open, 2 opened, ended: 1 OK\n" in page


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "text"),
    [
        ("POST", "/faults", {"fault": "status"}, "application/json", 400, "fault 1 (status): needs 'code'"),
        ("POST", "/faults", "x", "application/json", 400, "a scenario is a list of faults"),
        ("POST", "/faults", {"fault": "quota"}, "text/plain", 415, "send Content-Type: application/json"),
        ("POST", "/faults/now", {"fault": "quota"}, "application/json", 400, "cannot be injected into open streams"),
        ("PUT", "/faults", None, "application/json", 405, "PUT is not allowed here"),
        ("GET", "/nowhere", None, "application/json", 404, "the paths are /status"),
        ("POST", "/faults", "x" * 300_000, "application/json", 413, "at most 262144 bytes"),
    ],
)  # fmt: skip
async def test_wrong_control_calls_are_refused(
    method: str, path: str, body: Any, kind: str, status: int, text: str
) -> None:
    async with emulating() as emulator:
        code, answer = await http(emulator, method, path, body, kind=kind)
        assert code == status
        assert text in answer
        assert emulator.state.faults.armed == []


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:9", 200), ("[::1]:9", 200), ("localhost:9", 200), ("evil.example:9", 403), ("127.0.0.1.evil", 403)],
)
async def test_a_request_for_a_name_that_is_not_ours_is_refused(host: str, status: int) -> None:
    """A page in a browser can make its own name point here, and then read and change what it likes."""
    async with emulating() as emulator:
        for request in (b"GET /status", b"DELETE /faults"):
            reader, writer = await asyncio.open_connection(emulator.options.host, emulator.port)
            writer.write(request + b" HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
            writer.close()
            assert int(answer.split(b" ")[1]) == status


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404),
        (b"HEAD / HTTP/1.0\r\n\r\n", 405),
        (b"PUT /faults HTTP/1.0\r\n\r\n", 405),
        (b"POST /faults HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST /faults HTTP/1.0\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /faults HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /faults HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /status HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /status HTTP/1.0\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET / HTTP/1.0\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.0\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, 431),
    ],
)
async def test_no_page_names_a_version(asked: bytes, status: int) -> None:
    async with emulating() as emulator:
        reader, writer = await asyncio.open_connection(emulator.options.host, emulator.port)
        writer.write(asked)
        answer = (await asyncio.wait_for(reader.read(), PATIENCE_S)).lower()
        writer.close()
    assert int(answer.split(b" ")[1]) == status
    assert not any(name in answer for name in (b"server:", b"python", b"grpc", b"hyperframe", b"h2", b"version"))
    assert version("fastcall").encode() not in answer


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02", b"hello\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"G" * 9000])
async def test_what_is_no_http_is_dropped_and_others_go_on(data: bytes) -> None:
    async with emulating() as emulator, channel_to(emulator) as channel:
        reader, writer = await asyncio.open_connection(emulator.options.host, emulator.port)
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), PATIENCE_S)  # it is closed
        writer.close()
        _, end = await whole(channel, "apple")
        assert end == ("OK", "")


async def test_a_client_that_never_reads_is_read_no_further() -> None:
    async with emulating() as emulator:
        with socket.socket() as peer:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                peer.setsockopt(socket.SOL_SOCKET, option, 16_384)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, (emulator.options.host, emulator.port))
            peer.send(PREFACE + SettingsFrame(0).serialize())
            pings, sent, blocked = PingFrame(0, bytes(8)).serialize() * 1000, 0, 0
            while blocked < 100:
                try:
                    sent += peer.send(pings[sent % 17 :])  # where a part was left
                    blocked = 0
                except BlockingIOError:
                    blocked += 1
                await asyncio.sleep(0)
                assert sent < 60_000_000
        async with channel_to(emulator) as channel:
            _, end = await whole(channel, "apple")
            assert end == ("OK", "")
