"""Teaching a device that is in use: small networks trained in numpy, and latents found through the deployed backbone.

Nothing of the base is ever written: what is taught is a plugin folder of its own, and forgetting it removes that folder.
"""
