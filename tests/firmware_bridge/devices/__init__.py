"""The firmware's devices, compiled for this machine, against their simulators in simulated time."""
