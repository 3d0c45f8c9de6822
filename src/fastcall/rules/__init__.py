"""The rules: pure, and told the time."""
