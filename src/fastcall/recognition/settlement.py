"""Turns results into events: what was settled, and what is known of the speech after it."""

from __future__ import annotations

from collections.abc import Sequence

from fastcall.events import RecognitionEvent
from fastcall.ports import StreamResult
from fastcall.recognition.fallback_policy import SettledSpan
from fastcall.recognition.fallback_requests import FallbackRequests
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.inputs import Log, RecognitionCommand
from fastcall.recognition.stream_state import StreamState

__all__ = ["Settlement"]


class Settlement:
    """The settled end of one call, and the text known after it. Pure; one thread.

    :param source: of the streams' results
    :param fallback: is told what is settled
    :param commands: gets the events
    """

    def __init__(self, source: str, fallback: FallbackRequests | None, commands: list[RecognitionCommand]) -> None:
        self.known = Hypothesis()
        """The text after the settled end."""
        self._source = source
        self._fallback = fallback
        self._commands = commands
        self._oddities: set[str] = set()

    @property
    def end(self) -> int:
        """The settled end: no later result changes what was said before it."""
        return self.known.settled_end

    def dropped_before(self, stream: StreamState, result: StreamResult) -> list[tuple[str, int]]:
        """Call it once for each final of the active stream, before ``take_final``: words that the stream dropped, as
        (text, end)."""
        words = stream.words_of(result)
        first = words[0].start_sample if words else None
        return self.known.dropped_before(result.text.strip(), first, max(stream.end_of(result), self.end))

    def take_final(self, stream: StreamState, result: StreamResult, dropped: Sequence[tuple[str, int]]) -> None:
        """Settle a final of the active stream.

        :param dropped: words before it that no stream will settle: they are kept
        """
        end_sample = max(stream.end_of(result), self.end)
        words = stream.words_of(result)
        stream.map.forget_before(result.end_sample)
        for said, end in dropped:
            self._settle(RecognitionEvent("final", said, end, self._source))
        text, words = self.known.mended(result.text.strip(), words)
        self._settle(RecognitionEvent("final", text, end_sample, self._source, words))

    def take_interim(self, stream: StreamState, result: StreamResult | None) -> None:
        """What else the active stream heard; None: the rest of the interim before counts."""
        if result is None or self.known.take_interim(result.text.strip(), stream.end_of(result)):
            self.emit_interim()

    def take_draining(self, stream: StreamState, results: Sequence[StreamResult]) -> bool:
        """The draining stream's results: its finals are not accepted, but their text is the newest known for the audio
        after the settled end.

        :return: whether they are more than the active stream's
        """
        finals = [result.text for result in results if result.is_final]
        text = "" if results[-1].is_final else results[-1].text.strip()
        end_sample = stream.map.to_call(max(result.end_sample for result in results))
        is_newer = self.known.take_draining(finals, text, end_sample)
        if is_newer:
            self.emit_interim()
        return is_newer

    def take_span(self, span: SettledSpan, source: str) -> None:
        """The fallback's text of ``span``, which settles it."""
        end_sample = max(span.end, self.end)
        text, _ = self.known.mended(span.text)
        self.known.settled_elsewhere(text, end_sample, is_cut=span.is_cut)
        self._settled(RecognitionEvent("final", text, end_sample, source, start_sample=span.start))

    def commit_interim(self) -> None:
        """Keep known words that will not be settled any more."""
        if self.known.text:
            self._settle(RecognitionEvent("final", self.known.text, self.known.end_sample, self._source))

    def emit_interim(self) -> None:
        """The known text has changed."""
        self._commands.append(RecognitionEvent("interim", self.known.text, self.known.end_sample, self._source))

    def note_oddities(self, stream: StreamState) -> None:
        """Log what is odd about the stream's results, each kind once per call."""
        for oddity in stream.reports.oddities:
            if oddity not in self._oddities:
                self._oddities.add(oddity)
                self._commands.append(Log("warning", f"the recognizer's {oddity}"))

    def _settle(self, event: RecognitionEvent) -> None:
        self.known.take_final(event.text, event.end_sample)
        self._settled(event)

    def _settled(self, event: RecognitionEvent) -> None:
        if self._fallback is not None:
            self._commands += self._fallback.settled(event.end_sample)
        if event.text or not self.known.text:  # else known words may have been spoken before its end
            self._commands.append(event)
