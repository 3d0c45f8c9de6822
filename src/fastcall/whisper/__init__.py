"""Whisper (faster-whisper) as fallback: a model in processes of its own, beside the event loop."""
