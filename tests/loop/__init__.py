"""Tests of runtime/loop and runtime/board.py."""
