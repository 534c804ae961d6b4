"""The loop that runs a device: tick, router, clock, supervision, events."""
