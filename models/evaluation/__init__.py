"""How often the device does what it is told: seeded scenarios, run closed loop, judged from events and the world's truth.

    cases.py     the rows of the table: what stands about, what is said, what must follow
    sound.py     what is said and the noise around it, mixed at the microphone
    others.py    voices by synthesisers of other makes, for judging only
    judge.py     what must be true of a run's events
    play.py      one case on the real device in the emulator
    report.py    counts, intervals, the table
    verb.py      `innervate eval`

Nothing here imports torch: a device without the workshop can be judged too.
"""
