"""The adapters: one foreign thing each; none imports another."""
