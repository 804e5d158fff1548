"""Errors that a user can act on: one line that says what is wrong and what to do."""


class ConfigurationError(ValueError):
    """A setting, an input file or a combination of settings that cannot be used as given."""


class TrainingDiverged(ArithmeticError):
    """A loss or weight has become infinite, not a number, or too large to be meant; nothing is saved of it."""
