"""Text: bytes typed in, bytes spoken out."""
