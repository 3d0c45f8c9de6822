"""The media loop of a voice agent, on fastcall's parts: the server, the voice detector and the handler are your own.

This is for code that has a WebSocket loop already. `fastcall serve` does all of it, and more, by itself.

Run it with an emulator beside it:

    fastcall emulator --engine tones &
    SPEECH_EMULATOR_HOST=127.0.0.1:50051 GCP_STT_LANGUAGE=en-US python examples/media_ws_ai.py &
    fastcall simulate ws://127.0.0.1:8081/media --tones "apple arrow autumn [1500] badge bamboo"
"""

import asyncio
import base64
import json

import websockets
from webrtcvad import Vad

from fastcall import StreamingSTTSession, UtteranceDispatcher, mulaw_decode_fast

FRAME_BYTES = 320  # 20 ms of LINEAR16 at 8 kHz
START_FRAMES, END_FRAMES = 3, 25


class MediaLoop:
    """One call. Everything that it knows is its own, so a process holds as many calls as it can carry."""

    def __init__(self) -> None:
        self.session: StreamingSTTSession | None = None
        self.dispatcher: UtteranceDispatcher | None = None
        self.vad = Vad(2)
        self.voiced = 0
        self.unvoiced = 0
        self.speaking = False
        self.replies: set[asyncio.Task[None]] = set()

    # --- what used to be a session per sentence ------------------------------------------------------

    def _start_session_if_needed(self) -> None:
        self.session = self.session or StreamingSTTSession()
        self.dispatcher = self.dispatcher or UtteranceDispatcher(self.session)

    def _utterance_begin(self) -> None:
        self.speaking = True
        self.dispatcher.begin(lambda text: print(f"🟡 Partial: {text}", flush=True))

    async def _utterance_end(self) -> None:
        text = await self.dispatcher.end(silence_ms=20 * END_FRAMES)
        print(f"🟢 Final: {text}", flush=True)  # here the model is asked, and the answer spoken

    async def _close_session_if_exists(self) -> None:
        if self.session is not None:
            await asyncio.to_thread(self.session.close)

    # --- the loop -------------------------------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        """20 ms: to the recognizer always, silence too; and to the voice detector."""
        self.session.push_audio(pcm)
        voiced = self.vad.is_speech(pcm, 8000)
        self.voiced = self.voiced + 1 if voiced else 0
        self.unvoiced = 0 if voiced else self.unvoiced + 1
        if not self.speaking and self.voiced >= START_FRAMES:
            self._utterance_begin()
        elif self.speaking and self.unvoiced >= END_FRAMES:
            self.speaking = False
            # The loop goes on hearing while the text is settled.
            task = asyncio.create_task(self._utterance_end())
            self.replies.add(task)
            task.add_done_callback(self.replies.discard)

    async def run(self, socket: websockets.ServerConnection) -> None:
        """The WebSocket's messages, until it closes."""
        try:
            async for message in socket:
                data = json.loads(message)
                if data["event"] == "start":
                    self._start_session_if_needed()
                elif data["event"] == "media":
                    pcm = mulaw_decode_fast(base64.b64decode(data["media"]["payload"]))
                    if len(pcm) == FRAME_BYTES:
                        self.hear(pcm)
                elif data["event"] == "stop":
                    break
            if self.speaking:
                await self._utterance_end()
            await asyncio.gather(*self.replies)
        finally:
            await self._close_session_if_exists()


async def main() -> None:
    """Serve on 127.0.0.1:8081 until interrupted."""
    async with websockets.serve(lambda socket: MediaLoop().run(socket), "127.0.0.1", 8081, compression=None) as server:
        print("listening on ws://127.0.0.1:8081/media", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
