"""Whisper (faster-whisper) as fallback: models run in worker processes, outside the event loop."""
