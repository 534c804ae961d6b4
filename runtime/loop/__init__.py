"""The loop that runs a device.

The way of a latent from microphone to motor, in reading order:

    assemble.py    board + bundle + plugins -> a device
    device.py      turns on a grid of 80 ms; safe values on every way out
    tick.py        one turn: collect, listen, emit
    supervise.py   collect: a sensor's samples, encoded; it fails alone and is tried again
    router.py      emit: what the backbone's output means, and who it is for
    limb.py        the decoder's targets become setpoints; the deadman; the voice
    events.py      what a run tells; clock.py: its time; meter.py: its wall-clock figures
"""
