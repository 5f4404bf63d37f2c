"""Synthetic keywords: ten words and others, spoken by many speakers, each clip of a fixed length."""

import numpy as np

from tinygrad_hw.random import Stream

from . import speech
from .speech import LEVEL, spelled
from .voice import RATE, Voice

KEYWORDS = {
    "yes": "y eh s",
    "no": "n ao uw",
    "up": "ah p",
    "down": "d aa uw n",
    "left": "l eh f t",
    "right": "r aa iy t",
    "on": "aa n",
    "off": "ao f",
    "stop": "s t aa p",
    "go": "g ao uw",
}
OTHERS = {
    "bed": "b eh d",
    "bird": "b er d",
    "cat": "k ae t",
    "dog": "d ao g",
    "happy": "h ae p iy",
    "house": "h aa uw s",
    "marvin": "m aa r v ih n",
    "nine": "n aa iy n",
    "one": "w ah n",
    "seven": "s eh v ah n",
    "sheila": "sh iy l ah",
    "three": "th r iy",
    "tree": "t r iy",
    "two": "t uw",
    "wow": "w aa uw w",
    "zero": "z ih r ao",
}
FLOOR = LEVEL * 10 ** (-50 / 20)  # of what a microphone takes up when nobody speaks


def clip(voice: Voice, word: str, stream: Stream, seconds: float = 1.0) -> np.ndarray:
    """A word somewhere in a clip.

    Args:
        voice: who speaks.
        word: a key of KEYWORDS or OTHERS.
        stream: of how, how loud and when.
        seconds: length of the clip; a word that is longer loses its end.

    Returns:
        float32 samples at RATE; beside the word there is the faint hiss of a microphone.
    """
    count = round(seconds * RATE)
    draws = stream.uniform(2, dtype=np.float64)
    spoken = speech.say(voice, spelled({**KEYWORDS, **OTHERS}[word].split()), stream)[:count]
    whole = stream.uniform(count, -FLOOR, FLOOR)
    start = int(draws[0] * (count - len(spoken)))
    whole[start : start + len(spoken)] += spoken * np.float32(10 ** (-12 * draws[1] / 20))
    return whole
