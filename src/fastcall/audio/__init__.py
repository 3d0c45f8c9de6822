"""Inbound audio: the timeline of a call, the replay buffer, the voice detector and its endpointer, WAV files.

Complements the compiled core; nothing here knows a recognizer, a server or an agent.
"""
