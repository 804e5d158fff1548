"""Prompts to learn from: many ways to ask for a digit in a colour, so that new wording is understood as well."""

from __future__ import annotations

import string

import numpy as np

from experiments.embedded.pictures import COLOURS

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_TEMPLATES = (
    "{colour} {digit}",
    "a {colour} {digit}",
    "the {colour} {digit}",
    "a {digit} in {colour}",
    "{digit} in {colour} ink",
    "the digit {digit} in {colour}",
    "the number {digit} in {colour}",
    "number {digit}, {colour}",
    "{digit}, {colour}",
    "{colour}, {digit}",
    "a handwritten {colour} {digit}",
    "a {colour} handwritten {digit}",
    "draw a {colour} {digit}",
    "draw me a {digit} in {colour}",
    "a picture of a {colour} {digit}",
    "an image of the {colour} number {digit}",
    "a photo of a {digit} that is {colour}",
    "please make a {colour} {digit} on black background",
    "the digit {digit} written with {colour} ink",
    "i want the number {digit} and it must be {colour}",
)
_WITHOUT_COLOUR = (
    "{digit}",
    "a {digit}",
    "the digit {digit}",
    "the number {digit}",
    "a handwritten {digit}",
    "draw a {digit}",
    "a picture of a {digit}",
    "please show me the digit {digit}",
)
# Words without a meaning to the model. The last line holds look-alikes of digits and colours.
_FILLER_TEXT = (
    "a an the of in with and or for to from at by as is it this that my your our some any very only just also "
    "picture image photo drawing drawn art icon sign logo label poster scan style figure shape letter symbol "
    "please draw make show give get create render generate print put want need see have write written handwritten "
    "number digit numeral ink chalk pen brush marker neon light bright dark bold thin thick big small large tiny "
    "nice simple plain clean clear beautiful cute funny great good old new modern black background paper board wall "
    "quality detailed sharp resolution best high pixel hello thanks me you we they here there today now again "
    "cat dog house tree car flower sun sky water fire city street door table game team score page year day "
    "someone anyone bone phone stone tone often tend weight freight height tired hundred bored agreed seventy sixty"
)
_FILLERS = _FILLER_TEXT.split()


def random_prompt(digit: int, colour: str, rng: np.random.Generator) -> str:
    """A prompt that asks for a digit in a colour; white is also what a prompt without a colour means.

    Args:
        digit: 0 to 9.
        colour: One of ``COLOURS``.
        rng: Source of the random draws.
    """
    word = str(digit) if rng.random() < 0.33 else DIGITS[digit]
    named = colour != "white" or rng.random() < 0.5
    if rng.random() < 0.5:
        templates = _TEMPLATES if named else _WITHOUT_COLOUR
        text = str(rng.choice(templates)).format(digit=word, colour=colour)
    else:
        words = ([colour, word] if rng.random() < 0.7 else [word, colour]) if named else [word]
        for _ in range(rng.integers(0, 7)):
            filler = _made_up_word(rng) if rng.random() < 0.2 else str(rng.choice(_FILLERS))
            words.insert(int(rng.integers(0, len(words) + 1)), filler)
        text = " ".join(words)
    return text + str(rng.choice(["", "", "", ".", "!", ","]))


def prompt_table(per_kind: int, rng: np.random.Generator) -> list[list[str]]:
    """Prompts of every kind; kind ``10 c + d`` asks for digit d in the c-th of ``COLOURS``."""
    return [
        [random_prompt(digit, colour, rng) for _ in range(per_kind)]
        for colour in COLOURS
        for digit in range(len(DIGITS))
    ]


def training_words() -> set[str]:
    """All words of the training prompts that are not made up at random."""
    text = " ".join([*_TEMPLATES, *_WITHOUT_COLOUR, *_FILLERS, *DIGITS, *COLOURS])
    return {word.strip(string.punctuation) for word in text.split()} | set(string.digits)


def _made_up_word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(string.ascii_lowercase), size=rng.integers(2, 7)))
