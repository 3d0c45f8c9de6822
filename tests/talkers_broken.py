"""A module that fails when it is imported, as somebody's agent may."""

answer = 1 / 0
