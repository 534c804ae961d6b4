"""What `nano` is asked to do: the commands, their meanings, and sentences that are none of them.

The four held-out pairs of colour and shape never occur in training as a target or in an answer; they measure whether the
model composes.  Everything that draws sentences takes the generator as an argument, so that data are reproducible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("cube", "ball", "cylinder", "cone")
HELD_OUT = frozenset({("purple", "cube"), ("yellow", "cone"), ("green", "ball"), ("white", "cylinder")})
TRAINED_PAIRS = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT)

VERBS = ("none", "left", "right", "up", "down", "ahead", "find", "follow", "stop", "see", "force")
DIRECTIONS = {  # verb -> (pan, tilt) in degrees, left and up positive: where to look, not by how much to turn
    "left": (60.0, 0.0),
    "right": (-60.0, 0.0),
    "up": (0.0, 20.0),
    "down": (0.0, -20.0),
    "ahead": (0.0, 0.0),
}

_FIXED = {
    "left": "look left",
    "right": "look right",
    "up": "look up",
    "down": "look down",
    "ahead": "look straight ahead",
    "stop": "stop",
    "see": "what do you see",
    "force": "how hard am i squeezing",
}
_FIND = ("look at the {} {}", "find the {} {}")
_FOLLOW = "follow the {} {}"


@dataclass(frozen=True, slots=True)
class Intent:
    """The meaning of a command: a verb of VERBS and, for find and follow, the object's colour and shape."""

    verb: str
    colour: str | None = None
    shape: str | None = None

    @property
    def visual(self) -> bool:
        """Whether it is about something to be seen."""
        return self.verb in ("find", "follow")

    @property
    def partial(self) -> bool:
        """Whether it names a colour or a shape, not both."""
        return (self.colour is None) != (self.shape is None)

    @property
    def ids(self) -> tuple[int, int, int]:
        """(verb, colour, shape) as indices; 0 stands for no colour or no shape, colours and shapes start at 1."""
        return (
            VERBS.index(self.verb),
            0 if self.colour is None else 1 + COLOURS.index(self.colour),
            0 if self.shape is None else 1 + SHAPES.index(self.shape),
        )


def command(rng: np.random.Generator, *, pairs: tuple[tuple[str, str], ...] = TRAINED_PAIRS, verb: str | None = None) -> tuple[str, Intent]:
    """A command sentence and its intent; about half of them name an object, which comes from `pairs`."""
    if verb is None:
        weights = {"find": 7.0, "follow": 4.0, "stop": 2.0}
        names = VERBS[1:]
        p = np.array([weights.get(name, 1.2) for name in names])
        verb = str(rng.choice(names, p=p / p.sum()))
    if verb in _FIXED:
        return _FIXED[verb], Intent(verb)
    colour, shape = pairs[int(rng.integers(len(pairs)))]
    template = _FOLLOW if verb == "follow" else _FIND[int(rng.integers(2))]
    return template.format(colour, shape), Intent(verb, colour, shape)


def loosely(rng: np.random.Generator, intent: Intent) -> tuple[str, Intent]:
    """The same wish with less said, "find the red one" or "find the cube": what is learnt of one word must not hang on the other."""
    verb = "follow" if intent.verb == "follow" else ("look at", "find")[int(rng.integers(2))]
    if rng.random() < 0.5:
        return f"{verb} the {intent.colour} {('one', 'thing')[int(rng.integers(2))]}", Intent(intent.verb, intent.colour)
    return f"{verb} the {intent.shape}", Intent(intent.verb, None, intent.shape)


_WORDS = """
the of and to in it is was he for on are as with his they at be this from have or by one had not but all were when we there can
an your which their said if will each about how up out them then she many some so these would other into has more her two like
him see time could no make than first been its who now people my made over did down only way find use may water long little very
after words called just where most know get through back much before go good new write our used me man too any day same right
look think also around another came come work three word must because does part even place well such here take why things help
put years different away again off went old number great tell men say small every found still between name should mister home
big give air line set own under read last never us left end along while might next sound below saw something thought both few
those always looked show large often together asked house world going want school important until form food keep children feet
land side without boy once animals life enough took sometimes four head above kind began almost live page got earth need far
hand high year mother light parts country father let night following picture being study second eyes soon times story boys since
white days ever paper hard near sentence better best across during today others however sure means knew trying hello thank
please music weather window table kitchen garden chair coffee morning evening birthday hospital computer telephone battery
river mountain yellow green circle square triangle bottle box car bus train bicycle airport ticket money market dollar seven
eight nine ten eleven twelve twenty thirty hundred monday tuesday friday sunday january august winter summer doctor teacher
driver farmer singer player engine wheel bridge street corner ceiling finger shoulder stomach purple tomato banana sugar
""".split()

_SENTENCES = """
what time is it|how are you|what do you want|what do you think|what do you mean|where do you live|how hard is it|how far is it
how old are you|who are you|what is your name|how much is it|how long does it take|do you see what i mean|i see what you mean
see you later|see you tomorrow|look at me|look at that|look over there|look it up|look after yourself|i am looking for my keys
i will follow you home|follow me please|follow the road|find out more|did you find it|i left my bag at home|you are right
that is all right|he turned left at the corner|stand up|sit down|get up now|calm down please|go straight home|it is straight
the bus stop is far away|we stopped for lunch|the red car is fast|a blue sky|the ball is round|an ice cream cone
put the cube on the table|the cylinder is empty|white bread and butter|green tea please|yellow flowers in the garden
the purple dress is nice|squeeze the lemon|i am squeezed in|good morning|good evening everyone|thank you very much
the weather is nice today|it is raining again|please open the window|close the door|turn on the light|play some music
set an alarm for seven|call my mother|what is the weather like|tell me a story|read the news|the train is late
i would like a coffee|can you help me|of course i can|never mind|that is not what i said|let us go home
the cat sat on the mat|she sells sea shells|the quick brown fox jumps over the lazy dog|once upon a time
my favourite colour is blue|he kicked the ball into the net|she painted the cube red|look who is here|up and down
left and right|ahead of time|straight away|the top of the hill|how hard can it be|what do you say|what did you see
they find it hard|who follows the leader|a hard day|the end of the road|do not worry|see the world|at the shop
""".replace("\n", "|").split("|")


def other(rng: np.random.Generator) -> str:
    """A sentence that is no command: one of a list of everyday ones, or a run of common words."""
    draw = rng.random()
    if draw < 0.45:
        options = [s for s in _SENTENCES if s]
        return options[int(rng.integers(len(options)))]
    if draw < 0.6:  # a command cut short or continued: the nearest thing to one
        text, _ = command(rng)
        words = text.split()
        if len(words) > 2 and rng.random() < 0.5:
            return " ".join(words[: int(rng.integers(1, len(words) - 1))]) if words[:-1] != ["look"] else "look"
        extra = " ".join(_WORDS[int(i)] for i in rng.integers(len(_WORDS), size=int(rng.integers(2, 5))))
        return f"{extra} {text} {extra}" if rng.random() < 0.3 else f"{text} {extra}"
    return " ".join(_WORDS[int(i)] for i in rng.integers(len(_WORDS), size=int(rng.integers(1, 8))))


_OWN = tuple("look left right up down straight ahead at the find follow stop what do you see how hard am i squeezing".split()) + COLOURS + SHAPES


def shuffled(rng: np.random.Generator) -> str:
    """Words of commands and common words in any order: no command, does not end in one, and names no held-out pair.

    Who has heard the words only in their sentences knows the sentences, not the words.
    """
    commands = [*_FIXED.values(), *(t.format(c, s) for t in (*_FIND, _FOLLOW) for c in COLOURS for s in SHAPES)]
    while True:
        words = []
        for _ in range(int(rng.integers(1, 7))):
            source = _OWN if rng.random() < 0.6 else _WORDS
            words.append(source[int(rng.integers(len(source)))])
        text = " ".join(words)
        colour, shape = named(text)
        if not any(text == c or text.endswith(" " + c) for c in commands) and (colour, shape) not in HELD_OUT:
            return text


def named(text: str) -> tuple[str | None, str | None]:
    """The colour and the shape that `text` names last."""
    colour = shape = None
    for word in text.split():
        colour = word if word in COLOURS else colour
        shape = word if word in SHAPES else shape
    return colour, shape


def describe(pairs: list[tuple[str, str]]) -> str:
    """The answer to "what do you see" for objects given from left to right."""
    if not pairs:
        return "nothing"
    named = [f"a {colour} {shape}" for colour, shape in pairs]
    return named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]
