"""Phones: how the vocal tract stands and what excites it, as numbers to synthesise from.

Formants of vowels: G. E. Peterson, H. L. Barney, "Control methods used in a study of the vowels", JASA 24, 1952
(men); of the others after D. H. Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67, 1980.
"""

from dataclasses import dataclass

SILENCE = "_"


@dataclass(frozen=True)
class Phone:
    """One state of the vocal tract.

    Attributes:
        formants: the first three resonances of a man's tract, Hz.
        voice: level of the pulses of the vocal folds.
        breath: level of noise from the vocal folds, which passes the whole tract.
        hiss: level of noise from a narrow place, which passes what is before it.
        centre, width: of that noise's spectrum, Hz.
        seconds: how long it lasts at a medium rate.
    """

    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    centre: float = 3000.0
    width: float = 1000.0
    seconds: float = 0.08


VOWELS = {
    name: Phone(formants, voice=1.0, seconds=seconds)
    for name, formants, seconds in (
        ("iy", (270, 2290, 3010), 0.13),
        ("ih", (390, 1990, 2550), 0.10),
        ("eh", (530, 1840, 2480), 0.12),
        ("ae", (660, 1720, 2410), 0.15),
        ("aa", (730, 1090, 2440), 0.16),
        ("ao", (570, 840, 2410), 0.15),
        ("uh", (440, 1020, 2240), 0.10),
        ("uw", (300, 870, 2240), 0.13),
        ("ah", (640, 1190, 2390), 0.11),
        ("er", (490, 1350, 1690), 0.13),
    )
}
CONSONANTS = {
    "w": Phone((300, 610, 2200), voice=0.6, seconds=0.07),
    "y": Phone((260, 2070, 3020), voice=0.6, seconds=0.06),
    "r": Phone((310, 1060, 1380), voice=0.6, seconds=0.07),
    "l": Phone((310, 1050, 2880), voice=0.5, seconds=0.07),
    "m": Phone((250, 900, 2200), voice=0.3, seconds=0.08),
    "n": Phone((250, 1700, 2600), voice=0.3, seconds=0.07),
    "ng": Phone((250, 2200, 2750), voice=0.3, seconds=0.09),
    "s": Phone((320, 1390, 2530), hiss=0.8, centre=6000, width=1300, seconds=0.11),
    "sh": Phone((300, 1840, 2750), hiss=0.7, centre=3500, width=1100, seconds=0.12),
    "f": Phone((340, 1100, 2080), hiss=0.2, centre=4500, width=3500, seconds=0.10),
    "th": Phone((320, 1290, 2540), hiss=0.09, centre=5500, width=3000, seconds=0.10),
    "h": Phone((500, 1500, 2500), breath=0.15, seconds=0.07),
    "z": Phone((240, 1390, 2530), voice=0.25, hiss=0.4, centre=6000, width=1300, seconds=0.08),
    "v": Phone((220, 1100, 2080), voice=0.3, hiss=0.07, centre=4500, width=3500, seconds=0.07),
}
# A stop is a closure and what follows its opening.
STOPS = {
    "p": (
        Phone((300, 800, 2150), seconds=0.07),
        Phone((400, 1100, 2150), breath=0.08, hiss=0.1, centre=1200, width=900, seconds=0.035),
    ),
    "t": (
        Phone((300, 1700, 2600), seconds=0.06),
        Phone((400, 1700, 2600), breath=0.06, hiss=0.2, centre=4500, width=1600, seconds=0.04),
    ),
    "k": (
        Phone((300, 1990, 2850), seconds=0.06),
        Phone((350, 1990, 2850), breath=0.08, hiss=0.18, centre=2200, width=900, seconds=0.045),
    ),
    "b": (
        Phone((200, 1100, 2150), voice=0.12, seconds=0.06),
        Phone((200, 1100, 2150), voice=0.5, hiss=0.08, centre=1000, width=800, seconds=0.012),
    ),
    "d": (
        Phone((200, 1600, 2600), voice=0.12, seconds=0.05),
        Phone((200, 1600, 2600), voice=0.5, hiss=0.15, centre=4000, width=1500, seconds=0.014),
    ),
    "g": (
        Phone((200, 1990, 2850), voice=0.12, seconds=0.05),
        Phone((200, 1990, 2850), voice=0.5, hiss=0.12, centre=2000, width=800, seconds=0.02),
    ),
}
PAUSE = Phone((500, 1500, 2500), seconds=0.05)


def states(phone: str) -> tuple[Phone, ...]:
    """The states that a phone passes through. Raises KeyError for one that is not known."""
    if phone == SILENCE:
        return (PAUSE,)
    if phone in STOPS:
        return STOPS[phone]
    return (VOWELS[phone] if phone in VOWELS else CONSONANTS[phone],)
