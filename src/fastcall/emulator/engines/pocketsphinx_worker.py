"""A worker process of the pocketsphinx engine: decodes utterances from standard input.

Run as `python -m fastcall.emulator.engines.pocketsphinx_worker [grammar file]`. It ends when its
input closes, so it never outlives the emulator. One thread; a decoder is used by one utterance at a time.

It receives frames that say what to `do` with an `utterance`: `begin` (with `grammar`, a text or null, and `phrases`),
`audio` (int16 at 16 kHz follows), `end`, `drop`. It answers with `heard` and `done`: [[word, start_s, end_s], ...], the
second settled; with an `error`; and with a `note` for the log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from pocketsphinx import Decoder

from fastcall.aio.frames import ParentPipe
from fastcall.emulator.engines.grammar import jsgf_from_phrases

FRAME_S = 0.01
_MODEL = "model"  # the search of the free language model
WORD_INSERTION: Final = 0.2
"""Word insertion penalty of a grammar, as a probability. With PocketSphinx' default of 0.65, the end of a word, or the
silence after it, becomes another short word."""


def grammar_decoder() -> Any:
    """A decoder for grammars.

    Without the second pass over the word lattice (`bestpath`), which ignores where the grammar may end, and adds the
    first word of a phrase that was not said.
    """
    return Decoder(lm=None, bestpath=False, wip=WORD_INSERTION, loglevel="FATAL")


class Worker:
    """The decoders of one process."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._idle: dict[str, list[Any]] = {}  # by search: idle decoders with this search active
        self._busy: dict[int, tuple[str, Any]] = {}
        self._shown: dict[int, list[Any]] = {}
        self._grammars: dict[tuple[str, ...], str | None] = {}
        self._lexicon = grammar_decoder()  # for looking up words, then for the first grammar
        self._spare: Any = self._lexicon
        self._cmn: str = self._lexicon.get_cmn(False)

    def handle(self, head: dict[str, Any], pcm: bytes) -> None:
        what, utterance = head["do"], head["utterance"]
        if what == "begin":
            self._begin(utterance, head["grammar"], head["phrases"])
        elif utterance not in self._busy:
            return  # failed or dropped
        elif what == "audio":
            self._audio(utterance, pcm)
        else:
            self._end(utterance, tell=what == "end")

    def check(self, grammar: str) -> None:
        """Raises ValueError if the grammar cannot be used."""
        search, decoder = self._acquire(grammar)
        self._idle.setdefault(search, []).append(decoder)

    def _begin(self, utterance: int, grammar: str | None, phrases: list[str]) -> None:
        if grammar is None and phrases:
            grammar = self._grammar_of(tuple(phrases))
        try:
            search, decoder = self._acquire(grammar)
        except ValueError as error:
            self._send(utterance=utterance, error=str(error))
            return
        decoder.set_cmn(self._cmn)  # adaptation to another speaker's channel must not carry over
        decoder.start_utt()
        self._busy[utterance] = (search, decoder)
        self._shown[utterance] = []

    def _grammar_of(self, phrases: tuple[str, ...]) -> str | None:
        if phrases not in self._grammars:
            grammar, dropped = jsgf_from_phrases(phrases, lambda word: bool(self._lexicon.lookup_word(word)))
            if dropped:
                shown = ", ".join(repr(phrase) for phrase in dropped[:10])
                self._send(note=f"phrases with words missing from the dictionary: {shown}")
            if len(self._grammars) > 100:
                self._grammars.clear()
            self._grammars[phrases] = grammar
        return self._grammars[phrases]

    def _acquire(self, grammar: str | None) -> tuple[str, Any]:
        search = _MODEL if grammar is None else grammar
        if self._idle.get(search):
            return search, self._idle[search].pop()
        if grammar is None:
            return search, Decoder(loglevel="FATAL")
        # Reuse a decoder that has another grammar; loading a new one takes 0.15 s.
        decoder, self._spare = self._spare, None
        for other, idle in self._idle.items():
            if decoder is None and other != _MODEL and idle:
                decoder = idle.pop()
        if decoder is None:
            decoder = grammar_decoder()
        try:
            decoder.add_jsgf_string("grammar", grammar)
        except ValueError:
            self._spare = decoder
            raise ValueError(
                "PocketSphinx cannot use the grammar: a syntax error, or a word missing from its dictionary"
            ) from None
        decoder.activate_search("grammar")
        return search, decoder

    def _audio(self, utterance: int, pcm: bytes) -> None:
        decoder = self._busy[utterance][1]
        decoder.process_raw(pcm, no_search=False, full_utt=False)
        words = _words(decoder)
        if words and [word[0] for word in words] != self._shown[utterance]:
            self._shown[utterance] = [word[0] for word in words]
            self._send(utterance=utterance, heard=words)

    def _end(self, utterance: int, *, tell: bool) -> None:
        search, decoder = self._busy.pop(utterance)
        self._shown.pop(utterance)
        decoder.end_utt()
        if tell:
            self._send(utterance=utterance, done=_words(decoder))
        self._idle.setdefault(search, []).append(decoder)


def _words(decoder: Any) -> list[Any]:
    """The words so far: [word, start_s, end_s]. Without fillers and marks of alternative pronunciations."""
    if decoder.hyp() is None:
        return []
    return [
        [segment.word.partition("(")[0], segment.start_frame * FRAME_S, (segment.end_frame + 1) * FRAME_S]
        for segment in decoder.seg() or ()
        if not segment.word.startswith(("<", "[", "(", "+"))
    ]


def main() -> int:
    # PocketSphinx' grammar scanner echoes invalid input to standard output, so frames use another descriptor.
    parent = ParentPipe.of_stdio()
    worker = Worker(parent.send)
    if len(sys.argv) > 1:
        try:
            with open(sys.argv[1], encoding="utf-8") as file:
                worker.check(file.read())
        except (OSError, ValueError) as error:
            parent.send(refused=str(error))
            return 1
    parent.send(ready=True)
    for head, pcm in parent:
        worker.handle(head, pcm)
    return 0


if __name__ == "__main__":
    sys.exit(main())
