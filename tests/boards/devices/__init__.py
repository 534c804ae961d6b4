"""The simulated devices by themselves."""
