"""The error of an invalid configuration."""


class ConfigError(ValueError):
    """A field has an invalid value, fields contradict each other, or an entry can't be found.

    The message names the field, the value that was given and the values that are accepted.
    """

    exit_status = 2
