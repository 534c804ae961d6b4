"""Touch: grip force, encoder, twin."""
