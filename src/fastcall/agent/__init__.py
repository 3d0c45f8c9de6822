"""The agent's side of a call: the handler's API, its replies, and the audio that the caller hears."""
