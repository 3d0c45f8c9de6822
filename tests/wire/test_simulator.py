"""The simulated Twilio against real WebSocket servers on the loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from itertools import pairwise
from typing import Any, cast

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from accepting import accepting
from fastcall.errors import UsageError
from fastcall.simulator import CallReport, Conduct, ListeningCaller, TwilioCaller, check_url, place_calls
from fastcall.simulator.impairments import LinePlan, Step
from fastcall.simulator.playback import Clear, Mark, Media
from fastcall.simulator.scripted_caller import Sentence
from fastcall.simulator.twilio_client import CallIds, Lateness, PhoneAudio, sign_url
from peers import PATIENCE_S
from reference import clear_message, mark_message, media_message

Handler = Callable[[ServerConnection], Awaitable[None]]

IDS = CallIds.derive("tests", 0)
SID = IDS.stream_sid


@contextlib.asynccontextmanager
async def listening(handler: Handler, **options: Any) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, compression=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/media"


class Recorder:
    """A server that keeps what it is sent, with times, and answers through ``answer``."""

    def __init__(self, answer: Callable[[ServerConnection, dict[str, Any]], Awaitable[None]] | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.connections: list[ServerConnection] = []
        self._answer = answer

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed):
            while True:
                raw = await connection.recv()
                assert isinstance(raw, str)
                self.times.append(time.monotonic())
                self.messages.append(json.loads(raw))
                if self._answer is not None:
                    await self._answer(connection, self.messages[-1])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == event]


def audio(frames: int, tail_frames: int = 0) -> PhoneAudio:
    return PhoneAudio(bytes(frame % 256 for frame in range(frames) for _ in range(160)), tail_s=tail_frames * 0.02)


async def test_a_call_from_connected_to_stop() -> None:
    recorder = Recorder()
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(10, 2), ids=IDS, parameters={"k": "v"}).run()
    assert report.ok
    assert (report.frames_sent, report.messages_sent, report.close_code) == (12, 15, 1000)
    events = [message["event"] for message in recorder.messages]
    assert events == ["connected", "start", *["media"] * 12, "stop"]
    assert recorder.messages[1]["start"]["customParameters"] == {"k": "v"}
    numbers = [int(message["sequenceNumber"]) for message in recorder.messages[1:]]
    assert numbers == list(range(1, 15))
    media = [message["media"] for message in recorder.of("media")]
    assert [int(one["chunk"]) for one in media] == list(range(1, 13))
    assert [int(one["timestamp"]) for one in media] == list(range(155, 155 + 12 * 20, 20))
    heard = [base64.b64decode(one["payload"]) for one in media]
    assert heard == [bytes([frame]) * 160 for frame in range(10)] + [b"\xff" * 160] * 2


async def test_the_upgrade_request_is_that_of_twilio() -> None:
    recorder = Recorder()
    async with listening(recorder) as url:
        await TwilioCaller(url, audio(1), auth_token="12345").run()
        request = recorder.connections[0].request
    assert request is not None
    headers = request.headers
    assert headers["User-Agent"] == "Twilio.TmeWs/1.0"
    assert headers["X-Twilio-Signature"] == sign_url("12345", url)
    assert headers["Accept-Encoding"] == "gzip"
    for absent in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin"):
        assert absent not in headers


async def test_frames_keep_to_the_schedule_of_the_call_and_never_before_it() -> None:
    recorder, lateness = Recorder(), Lateness()
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(40), lateness=lateness).run()
    assert report.first_frame_at is not None
    arrivals = [
        at for at, message in zip(recorder.times, recorder.messages, strict=True) if message["event"] == "media"
    ]
    assert all(at >= report.first_frame_at + 0.02 * frame for frame, at in enumerate(arrivals))
    assert lateness.total == 40


async def test_after_a_stall_what_is_due_comes_as_a_burst_and_the_schedule_holds() -> None:
    stalled = asyncio.Event()

    async def stall(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media" and message["media"]["chunk"] == "3":
            time.sleep(0.2)  # noqa: ASYNC251 - the loop itself must stand still, and the caller with it
            stalled.set()

    recorder = Recorder(stall)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(25)).run()
    assert stalled.is_set()
    assert report.ok
    assert [int(message["media"]["chunk"]) for message in recorder.of("media")] == list(range(1, 26))
    arrivals = [
        at for at, message in zip(recorder.times, recorder.messages, strict=True) if message["event"] == "media"
    ]
    assert sum(later - earlier < 0.01 for earlier, later in pairwise(arrivals)) >= 5  # the burst
    assert report.first_frame_at is not None
    assert all(at >= report.first_frame_at + 0.02 * frame for frame, at in enumerate(arrivals))


async def test_marks_come_back_when_the_audio_before_them_was_played() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            await connection.send(mark_message(SID, "nothing waits"))
            await connection.send(media_message(SID, b"\x00" * 1600))
            await connection.send(mark_message(SID, "played"))

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(25), ids=IDS).run()
    assert report.ok
    assert [one.message for one in report.received] == [Mark("nothing waits"), Media(b"\x00" * 1600), Mark("played")]
    assert [mark["mark"]["name"] for mark in recorder.of("mark")] == ["nothing waits", "played"]
    echoed_at = recorder.times[recorder.messages.index(recorder.of("mark")[1])]
    assert echoed_at >= report.received[1].at + 0.2
    numbers = [int(message["sequenceNumber"]) for message in recorder.messages[1:]]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_caller_for_load_echoes_marks_and_answers_pings_without_keeping_audio() -> None:
    answered = asyncio.Event()

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            await connection.send(media_message(SID, b"\x00" * 1600))
            await connection.send(mark_message(SID, "played"))
            await connection.send(clear_message(SID))
            await (await connection.ping())
            answered.set()

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(25), ids=IDS, discards_audio=True).run()
    assert answered.is_set()
    assert report.ok
    assert report.received == []
    assert (report.audio_received_bytes, report.marks_received, report.clears_received) == (1600, 1, 1)
    assert (report.messages_received, report.marks_echoed) == (3, 1)
    assert [mark["mark"]["name"] for mark in recorder.of("mark")] == ["played"]
    assert report.messages_sent == len(recorder.messages)
    numbers = [int(message["sequenceNumber"]) for message in recorder.messages[1:]]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_caller_for_load_sees_the_server_close() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media":
            await connection.close(1008, "enough")

    async with listening(Recorder(answer)) as url:
        report = await TwilioCaller(url, audio(500), ids=IDS, discards_audio=True).run()
    assert report.close_code == 1008
    assert not report.ok


async def test_clear_returns_the_outstanding_marks_at_once() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            await connection.send(media_message(SID, b"\x00" * 80_000))
            await connection.send(mark_message(SID, "a"))
            await connection.send(mark_message(SID, "b"))
        if message["event"] == "media" and message["media"]["chunk"] == "3":
            await connection.send(clear_message(SID))

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(15), ids=IDS).run()
    assert report.ok
    assert Clear() in [one.message for one in report.received]
    assert [mark["mark"]["name"] for mark in recorder.of("mark")] == ["a", "b"]


async def test_what_twilio_would_refuse_is_recorded_and_changes_nothing() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            await connection.send(b"binary")
            await connection.send(json.dumps(json.loads(mark_message(SID, "x")) | {"extra": 1}))
            await connection.send(mark_message("MZother", "x"))
            await connection.send(mark_message(SID, "good"))

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(5), ids=IDS).run()
    assert [violation.code for violation in report.violations] == [31950, 31951, 31951]
    assert (report.violation_count, report.messages_received, report.twilio_code) == (3, 4, 31950)
    assert report.error is None
    assert not report.ok
    assert [mark["mark"]["name"] for mark in recorder.of("mark")] == ["good"]


async def test_keys_are_pressed_during_the_call() -> None:
    caller: TwilioCaller

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media" and message["media"]["chunk"] == "2":
            caller.press("4")
            caller.press("#")

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        caller = TwilioCaller(url, audio(6), ids=IDS)
        assert (await caller.run()).ok
        with pytest.raises(ValueError, match="is not a telephone key"):
            caller.press("no")
    assert [message["dtmf"] for message in recorder.of("dtmf")] == [
        {"track": "inbound_track", "digit": "4"},
        {"track": "inbound_track", "digit": "#"},
    ]
    numbers = [int(message["sequenceNumber"]) for message in recorder.messages[1:]]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_hanging_up_ends_audio_that_has_no_end() -> None:
    caller: TwilioCaller

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media" and message["media"]["chunk"] == "5":
            caller.hang_up()

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        caller = TwilioCaller(url, PhoneAudio(b"\x01" * 320, passes=None))
        report = await caller.run()
    assert report.ok
    assert recorder.messages[-1]["event"] == "stop"
    assert 5 <= report.frames_sent <= 7


async def test_a_lost_connection_has_neither_stop_nor_close() -> None:
    caller: TwilioCaller
    gone = asyncio.Event()

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media":
            caller.drop()

    class Watcher(Recorder):
        async def __call__(self, connection: ServerConnection) -> None:
            await super().__call__(connection)
            gone.set()

    recorder = Watcher(answer)
    async with listening(recorder) as url:
        caller = TwilioCaller(url, audio(50))
        report = await caller.run()
        await gone.wait()
    assert recorder.messages[-1]["event"] == "media"
    assert recorder.connections[0].close_code == 1006
    assert report.error == "dropped by the caller"


async def test_a_server_that_closes_the_call_early() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media" and message["media"]["chunk"] == "4":
            await connection.close(1008, "not today")

    async with listening(Recorder(answer)) as url:
        report = await TwilioCaller(url, audio(100)).run()
    assert not report.ok
    assert (report.twilio_code, report.close_code) == (31921, 1008)
    assert report.error is not None
    assert "not today" in report.error


async def test_a_server_that_breaks_the_connection() -> None:
    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media":
            connection.transport.abort()

    async with listening(Recorder(answer)) as url:
        report = await TwilioCaller(url, audio(100)).run()
    assert not report.ok
    assert (report.twilio_code, report.close_code) == (31903, 1006)


# Everything at once, so that it fills the socket's buffers.
FLOOD = Conduct(LinePlan(tuple(Step(0.0, frame) for frame in range(20_000)), 20_000))


async def test_a_server_that_does_not_read_loses_audio_and_the_call_ends_on_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastcall.simulator.pacer.DISCARD_AFTER_S", 0.1)
    monkeypatch.setattr("fastcall.simulator.caller.CLOSE_TIMEOUT_S", 0.1)
    over = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await over.wait()
        connection.transport.abort()

    async with listening(deaf) as url:
        async with asyncio.timeout(PATIENCE_S):
            report = await TwilioCaller(url, audio(20_000), conduct=FLOOD).run()
        over.set()
    assert not report.ok
    assert report.frames_sent + report.frames_discarded == 20_000
    assert report.frames_discarded > 1000
    assert report.twilio_code == 31930


async def test_what_the_socket_does_not_take_at_once_arrives_whole_and_in_order() -> None:
    async def pause(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            connection.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.3, connection.transport.resume_reading)

    recorder = Recorder(pause)
    async with listening(recorder) as url:
        caller = TwilioCaller(url, audio(20_000), conduct=FLOOD)
        caller.press("7")  # goes out through the transport, between frames
        report = await caller.run()
    assert report.ok
    numbers = [int(message["sequenceNumber"]) for message in recorder.messages[1:]]
    assert numbers == list(range(1, 20_004))
    heard = [base64.b64decode(message["media"]["payload"])[0] for message in recorder.of("media")]
    assert heard == [frame % 256 for frame in range(20_000)]
    assert len(recorder.of("dtmf")) == 1


async def test_without_stop() -> None:
    recorder = Recorder()
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(2), conduct=Conduct(no_stop=True)).run()
    assert report.ok
    assert [message["event"] for message in recorder.messages] == ["connected", "start", "media", "media"]


async def test_an_abrupt_end_in_the_middle() -> None:
    gone = asyncio.Event()

    class Watcher(Recorder):
        async def __call__(self, connection: ServerConnection) -> None:
            await super().__call__(connection)
            gone.set()

    recorder = Watcher()
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(500), conduct=Conduct(drop_after_s=0.1)).run()
        await gone.wait()
    assert report.ok, "it was meant to"
    assert 4 <= report.frames_sent < 100
    assert recorder.messages[-1]["event"] == "media"
    assert recorder.connections[0].close_code == 1006


async def test_a_slow_reader_reads_slowly_and_ends_at_once() -> None:
    async def talk(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            for _ in range(50):
                await connection.send(media_message(SID, b"\x00" * 160))
        elif message["event"] == "stop":
            await connection.close()

    async with listening(Recorder(talk)) as url:
        report = await TwilioCaller(url, audio(25), ids=IDS, conduct=Conduct(read_pause_s=0.2)).run()
    assert report.ok
    pauses = [later.at - earlier.at for earlier, later in pairwise(report.received)]
    assert pauses[0] >= 0.2
    assert min(pauses) < 0.2  # the rest is not read at its pace when the call is over


@pytest.mark.parametrize(("refuse", "outcome"), [(True, "closed with 1008"), (False, "taken")])
async def test_a_second_socket_for_the_same_call(refuse: bool, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.simulator.caller.SECOND_SOCKET_AFTER_S", 0.1)
    monkeypatch.setattr("fastcall.simulator.caller.SECOND_SOCKET_LIVES_S", 0.2)
    recorder: Recorder

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if refuse and message["event"] == "start" and connection is not recorder.connections[0]:
            await connection.close(1008, "this call has a socket")

    recorder = Recorder(answer)
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(60), ids=IDS, conduct=Conduct(second_socket=True)).run()
    assert report.second_socket == outcome
    assert report.frames_sent == 60
    starts = recorder.of("start")
    assert [start["start"]["callSid"] for start in starts] == [IDS.call_sid] * 2


async def test_a_bad_line_sends_what_its_plan_says() -> None:
    plan = LinePlan((Step(0.0, 1), Step(0.0, 0), Step(40.0, 3), Step(40.0, 3)), 4)
    recorder = Recorder()
    async with listening(recorder) as url:
        report = await TwilioCaller(url, audio(8), conduct=Conduct(plan)).run()
    assert report.ok
    timestamps = [int(message["media"]["timestamp"]) for message in recorder.of("media")]
    assert timestamps == [155 + 20 * frame for frame in (1, 0, 3, 3, 5, 4, 7, 7)]


async def test_stamps_say_when_a_frame_was_sent_which_it_was_and_whose() -> None:
    recorder = Recorder()
    before = time.monotonic()
    async with listening(recorder) as url:
        await TwilioCaller(url, audio(4), call_number=1234).run()
    after = time.monotonic()
    assert len(recorder.of("media")) == 4
    for number, message in enumerate(recorder.of("media")):
        mulaw = base64.b64decode(message["media"]["payload"])
        assert mulaw[:138] == bytes([number]) * 138
        assert mulaw[159] == number
        codes = [code & 15 for code in mulaw[138:159]]
        assert all(code & 0xF0 == 0xF0 for code in mulaw[138:159])
        hexadecimal = "".join(f"{code:x}" for code in codes)
        assert hexadecimal[0] == "c"
        assert before <= int(hexadecimal[1:9], 16) / 1e6 + (int(before * 1e6) >> 32 << 32) / 1e6 <= after
        assert (int(hexadecimal[9:17], 16), int(hexadecimal[17:], 16)) == (number, 1234)


async def test_the_starts_of_many_calls_are_spread_evenly() -> None:
    class Caller:
        def __init__(self) -> None:
            self.at = 0.0

        async def run(self, at: float) -> None:
            self.at = at

    callers = [Caller() for _ in range(5)]
    await place_calls(cast(list[TwilioCaller], callers), ramp_s=10.0)
    assert [caller.at - callers[0].at for caller in callers] == pytest.approx([0.0, 2.0, 4.0, 6.0, 8.0])


async def test_many_calls_at_once_each_with_its_own_ids_and_audio() -> None:
    recorder = Recorder()
    async with listening(recorder) as url:
        callers = [
            TwilioCaller(url, PhoneAudio(bytes([index]) * 160 * 5, tail_s=0), ids=CallIds.derive("many", index))
            for index in range(20)
        ]
        reports = await place_calls(callers, ramp_s=0.2)
    assert [report.ids for report in reports] == [CallIds.derive("many", index) for index in range(20)]
    assert all(report.ok for report in reports)
    for index, report in enumerate(reports):
        of_call = [message for message in recorder.of("media") if message["streamSid"] == report.ids.stream_sid]
        assert [base64.b64decode(message["media"]["payload"]) for message in of_call] == [bytes([index]) * 160] * 5


async def test_calls_that_wait_for_their_start_are_not_placed_after_hanging_up() -> None:
    callers: list[TwilioCaller] = []

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "media":
            for caller in callers:
                caller.hang_up()

    recorder = Recorder(answer)
    async with listening(recorder) as url, asyncio.timeout(PATIENCE_S):
        callers += [TwilioCaller(url, PhoneAudio(b"\x01", passes=None)) for _ in range(2)]
        reports = await place_calls(callers, ramp_s=3600)
    assert [report.error for report in reports] == [None, "hung up before the call was placed"]
    assert len(recorder.connections) == 1


async def test_a_caller_who_listens_presses_keys_too_and_counts_what_is_sent() -> None:
    caller: ListeningCaller

    async def answer(connection: ServerConnection, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            await connection.send(media_message(SID, b"\x00" * 160))
            await connection.send(mark_message(SID, "played"))
        elif message["event"] == "mark":
            caller.press("4")
        elif message["event"] == "dtmf":
            caller.hang_up()

    recorder = Recorder(answer)
    async with listening(recorder) as url, asyncio.timeout(PATIENCE_S):
        caller = ListeningCaller(url, [Sentence("one", b"\x10" * 320)], ids=IDS)
        report = await caller.run()
    assert report.ok
    assert [message["dtmf"]["digit"] for message in recorder.of("dtmf")] == ["4"]
    assert report.messages_sent == len(recorder.messages)
    assert (report.messages_received, report.marks_echoed) == (2, 1)
    assert [caller.report.audio_received_bytes, report.frames_sent] == [160, len(recorder.of("media"))]


async def failed(url: str) -> CallReport:
    report = await TwilioCaller(url, audio(1)).run()
    assert not report.ok
    assert report.frames_sent == 0
    return report


async def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = await failed(f"ws://127.0.0.1:{unused.getsockname()[1]}/media")
    assert report.twilio_code == 31902
    assert "start the server first" in (report.error or "")


async def test_a_server_that_refuses_the_upgrade() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "no\n")

    async with listening(Recorder(), process_request=refuse) as url:
        report = await failed(url)
    assert report.twilio_code == 31920
    assert "answered HTTP 403" in (report.error or "")


async def test_redirects_are_not_followed() -> None:
    def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "there\n")
        response.headers["Location"] = "/elsewhere"
        return response

    async with listening(Recorder(), process_request=redirect) as url:
        report = await failed(url)
    assert "answered HTTP 302" in (report.error or "")


@pytest.mark.parametrize("answer", [b"hello\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_server_that_is_none(answer: bytes) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with accepting(respond) as port:
        report = await failed(f"ws://127.0.0.1:{port}/media")
    assert report.twilio_code in (31903, 31920)


async def test_tls_with_a_server_that_has_none() -> None:
    async with listening(Recorder()) as url:
        report = await failed(url.replace("ws://", "wss://"))
    assert report.twilio_code == 31910


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://localhost/media", "not a WebSocket URL"),
        ("localhost:8080", "not a WebSocket URL"),
        ("ws:///media", "not a WebSocket URL"),
        ("ws://host:port/", "not a URL"),
        ("ws://[::1/media", "not a URL"),
        ("ws://host/media?token=1", "no query string"),
    ],
)
def test_urls_that_cannot_be_called(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_url(url)
