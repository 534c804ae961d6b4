"""Serving, over real sockets on loopback."""
