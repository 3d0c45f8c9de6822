"""A local server that speaks Google's StreamingRecognize, with its limits and errors.

It shares no code with the product's own Google adapter: the two meet on the wire only. `server.Emulator`
is the way in; `options.Options` says how it behaves; the behaviour of one stream is in `rules`, which is
pure; `engines` hold what turns audio into words.
"""
