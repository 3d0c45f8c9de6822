"""The agent's side of a call: what a handler sees, its replies, and the audio that the caller hears."""
