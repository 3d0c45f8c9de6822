"""A local server that implements Google's StreamingRecognize, with its limits and errors.

It shares no code with `fastcall.google`: the two meet on the wire only. `server.Emulator` is the entry point;
`options.Options` configures it; `rules` has the behaviour of one stream, and is pure; `engines` turn audio
into words.
"""
