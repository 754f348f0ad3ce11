"""The schedule of the learning rates: its factor at a step, and what a resume changes about it."""

from training.run.config import RunConfig


def length_of(config: RunConfig) -> int:
    """Return the number of steps of a run's schedule."""
    return config.train.schedule_steps or config.train.steps


def factor_at(config: RunConfig, step: int) -> float:
    """Return the factor on every learning rate at a step, counted from 0. After the schedule it stays."""
    return config.entry.learning_rate_at(min(1.0, step / length_of(config)))


def describe_change(config: RunConfig, earlier: RunConfig, done: int) -> str | None:
    """Return how the learning rates change because the schedule of a resumed run has another length.

    Args:
        config: present configuration of the run.
        earlier: its configuration so far.
        done: number of steps that the run has trained for.

    Returns:
        A sentence, or None if the rates go on as before.
    """
    before, now = factor_at(earlier, done), factor_at(config, done)
    if before == now:
        return None
    length, verb = length_of(earlier), "rise" if now > before else "fall"
    remedy = f"; --schedule-steps {length} keeps the earlier schedule" if done < length else ""
    return (
        f"the schedule has {length_of(config)} steps instead of {length}, so that at step {done} the "
        f"learning rates {verb} from {100 * before:.3g}% to {100 * now:.3g}% of their full value{remedy}"
    )


def describe_end(config: RunConfig) -> str | None:
    """Return that the schedule ends before the run, or None if it does not or if the rates are constant."""
    length = length_of(config)
    last = factor_at(config, length)
    if config.train.steps <= length or last == factor_at(config, 0):
        return None
    return (
        f"the schedule ends at step {length} of {config.train.steps}; from there on, the learning rates are "
        f"{100 * last:.3g}% of their full value"
    )
