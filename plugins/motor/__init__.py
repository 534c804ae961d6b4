"""Movement: the pan-tilt head, its pose, decoder, twins."""
