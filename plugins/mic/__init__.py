"""Hearing: microphone, encoder, twin."""
