"""What runs on the device: the latent interface, the backbone engine, the loop, the commands."""
