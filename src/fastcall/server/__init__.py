"""The server: HTTP and WebSocket front, access control, calls, workers, metrics, logs.

Puts the other packages together; no tool is imported here.
"""
