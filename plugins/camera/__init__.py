"""Sight: camera, encoder, twin."""
