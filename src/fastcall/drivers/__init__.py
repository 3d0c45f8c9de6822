"""The drivers: what runs the rules on an event loop."""
