"""Sentences that are no commands, for false actions: half of them of the kind in training, half in nobody's training."""

from __future__ import annotations

import numpy as np

from innervate.models.language import COLOURS, DIRECTIONS, SHAPES, other

_NEW = """
where did i put my glasses|the soup is still too hot|remind me to water the plants|our neighbours are moving to Canada
he plays the violin rather badly|there is a letter for you on the stairs|please pass the salt|the meeting was moved to Thursday
she laughed so loudly that everyone turned round|i think we should paint the fence|the dog barked all night|bring an umbrella
it costs about twenty pounds|my phone is almost empty|could you speak more slowly|that film had a strange ending
the children are asleep already|we ran out of milk again|take the second street after the church|is there any cake left
nobody told me about the party|i will be back in ten minutes|the lamp in the hall is broken|write your name on the list
the river freezes in a cold winter|they built a house on the hill|it smells of fresh paint in here|how was your holiday
the printer needs more paper|i forgot my password once more|let me think about it|you have a beautiful voice
the museum closes at five|he dropped the vase and blamed the cat|make sure that the gas is off|what a lovely surprise
the flowers on the balcony need water|two tickets to the seaside please|the shoes are too small for me|i could not agree more
turn the page and read the next line|the bakery sells bread until noon|a bird flew into the garage|we met at university
""".replace("\n", "|").split("|")

_COMMANDS = (
    "stop", "what do you see", "how hard am i squeezing", "look straight ahead",
    *(f"look {verb}" for verb in DIRECTIONS),
    *(f"{verb} the {colour} {shape}" for verb in ("look at", "find", "follow") for colour in COLOURS for shape in SHAPES),
)  # fmt: skip


def holds_command(text: str) -> bool:
    """Return whether a command stands in `text`, word for word: to act on that would not be false."""
    padded = f" {text.lower()} "
    return any(f" {command} " in padded for command in _COMMANDS)


def another(rng: np.random.Generator) -> str:
    """Draw a sentence that holds no command."""
    while True:
        new = [s for s in _NEW if s]
        text = new[int(rng.integers(len(new)))] if rng.random() < 0.5 else other(rng)
        if not holds_command(text):
            return text
