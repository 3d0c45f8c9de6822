"""One recognition session for a whole call: streams, rotation, replay, transcript, fallback.

Any provider fits behind ``fastcall.ports``; nothing here knows Google, Twilio or a server.
"""
