"""Twilio Media Streams: messages, signatures, TwiML, stream tokens. Pure: no clock, no loop, no socket."""
