"""The emulator's options: one frozen object."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the emulator behaves. Times are seconds; a limit of 0 means none.

    The defaults are Google's limits, with results as early and as stable as the engine allows, as needed for an
    embedded recognizer. The command line sets delays and instability like Google's instead.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    """0 lets the system choose."""
    engine: str = "tones"
    grammar: str | None = None
    """Path of a JSGF file (pocketsphinx)."""
    script: str | None = None
    """Path of the script engine's YAML file of texts and times."""
    workers: int = 0
    """Worker processes of the pocketsphinx engine; 0: one per core."""
    seed: int = 0
    """For every random choice: delays, rewritten interims, faults with a probability."""

    scenario: str | None = None
    """Path of a YAML file of faults."""
    record: str | None = None
    """Directory for recordings of every stream's audio and messages."""
    tls_cert: str | None = None
    """Path of a certificate chain (PEM); with `tls_key` the server uses TLS."""
    tls_key: str | None = None

    # Google's limits.
    stream_limit_s: float = 305.0
    idle_s: float = 10.0
    max_speed: float = 5.0
    """Audio faster than this many times real time is refused, beyond a burst of `max_burst_s`."""
    max_burst_s: float = 15.0
    max_chunk_bytes: int = 25_600
    streams_per_connection: int = 100
    max_streams: int = 300
    requests_per_minute: int = 900

    # Timing and stability of results.
    end_silence_s: float = 0.6
    """Silence that ends an utterance."""
    max_utterance_s: float = 60.0
    min_speech_s: float = 0.0
    """Speech without a pause gets a final after this time."""
    final_delay_s: float = 0.0
    """Median delay of a final after the end of speech; 0: as soon as the utterance has ended."""
    final_delay_p99_s: float = 0.0
    rewrite_rate: float = 0.0
    """Share of interims whose newest words are wrong or missing, and corrected by the next interim."""
