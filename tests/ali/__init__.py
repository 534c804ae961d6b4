"""Tests of runtime/ali: the contracts."""
