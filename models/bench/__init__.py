"""Speed and memory of the device on this machine: `innervate bench`.

    replay.py   a world without MuJoCo whose camera shows frames rendered before, and an hour of things to do
    tick.py     whole ticks, their parts, an hour of them
    boot.py     from process start to the first tick
    verb.py     the command
"""
