"""Boards: what is wired to what, and the emulator in which a whole device can live."""
