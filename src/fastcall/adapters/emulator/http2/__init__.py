"""A gRPC server's side of HTTP/2, on asyncio alone.

gRPC's own server can neither cut a connection under a stream nor announce a GOAWAY when it is told to, and costs
several times more a message. The library h2 can, and costs over five times as much (benchmarks/README.md): at 1,500
calls a seventh of a core more. It judges this code in the tests instead, as the client.

This holds what a gRPC client needs and no more: HPACK decoding, flow control in both directions, PING,
SETTINGS, RST_STREAM, GOAWAY. RFC 9113, RFC 7541, and gRPC's PROTOCOL-HTTP2.
"""
