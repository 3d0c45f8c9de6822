"""A gRPC server's side of HTTP/2, on asyncio alone.

Written for the emulator because gRPC's own server can neither cut a connection under a stream nor announce a
GOAWAY when it is told to, and because it costs several times more a message (docs/emulator.md has figures).
It holds what a gRPC client needs and no more: HPACK decoding, flow control in both directions, PING,
SETTINGS, RST_STREAM, GOAWAY. RFC 9113, RFC 7541, and gRPC's PROTOCOL-HTTP2.
"""
