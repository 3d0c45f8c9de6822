"""The version of fastcall, in a module of its own so that building can read it without importing the package."""

__version__ = "0.1.0"
