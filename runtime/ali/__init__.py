"""The application latent interface: latents in, latents out, and the contracts of what gives and takes them."""
