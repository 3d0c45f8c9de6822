"""Audio in: the timeline of a call, the replay buffer, the voice detector and its endpointer, WAV files.

What the core does not do itself; nothing here knows a recognizer, a server or an agent.
"""
