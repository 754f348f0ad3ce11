"""The error of a configuration that can't be."""


class ConfigError(ValueError):
    """A field has an impossible value, fields contradict each other, or there is no such entry.

    The message says what was wrong, what was given and what would do.
    """
