"""Tests of the link to the microcontroller and of its firmware."""
