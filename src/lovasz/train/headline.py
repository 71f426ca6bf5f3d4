"""What the numbers of a report come to, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovasz.train.summary import TITLES, Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lovasz.train.summary import Difference, LossSummary, Summary

WITH_OFFSETS = "with offsets fitted on the validation part"


def headline(summary: Summary) -> str:
    """The result in a few sentences: which loss is ahead, and what follows.

    Of two decisions there is a line for each, and one for both together.
    """
    if not summary.losses:
        return "No run has a result." if summary.diverged else "No run is complete yet."
    part = f"on the {summary.part_name} part"
    if len(summary.losses) == 1:
        return _alone(summary.losses[0], part, in_sample=summary.in_sample)
    if not summary.ranks:
        both = f", by argmax and {WITH_OFFSETS}" if summary.decided else ""
        reached = ", ".join(_reached(loss) for loss in summary.losses)
        return (
            f"mIoU {part}{both}: {reached}. No winner can be told: the losses"
            " have fewer than two seeds in common, and another seed may turn the order round."
        )
    first = leader(summary, "argmax")
    if not summary.decided:
        return (
            f"{first.title} has the highest mIoU {part}, {first.argmax.miou} %."
            f" Paired by seed it is {_leads(first, summary.differences)}."
        )
    second = leader(summary, "fitted")
    where = ", on images of it that they were not fitted to," if summary.in_sample else ""
    fitted = second.outcomes["fitted"].miou
    return (
        f"Under argmax {first.title} has the highest mIoU {part}, {first.argmax.miou} %;"
        f" paired by seed it is {_leads(first, summary.differences)}.\n"
        f"{WITH_OFFSETS.capitalize()}{where} {second.title} has the highest mIoU,"
        f" {fitted} %; paired by seed it is"
        f" {_leads(second, summary.decided_differences)}.\n"
        f"{consequence(summary)}"
    )


def consequence(summary: Summary) -> str:
    """What follows for the choice of a loss, in a sentence; empty where nothing does."""
    if not summary.ranks or not summary.decided:
        return ""
    first, second = leader(summary, "argmax"), leader(summary, "fitted")
    if first.name == second.name:
        said = (
            f"So {first.title} is ahead under both decisions, of the next best by"
            f" {_ahead_of(summary, first, 'argmax')} points under argmax and by"
            f" {_ahead_of(summary, first, 'fitted')} with fitted offsets"
        )
    else:
        said = (
            f"So the order depends on the decision: {first.title} is"
            f" {_apart(first, second, 'argmax')} points ahead of {second.title} under"
            f" argmax, and {_apart(second, first, 'fitted')} points behind it with"
            " fitted offsets"
        )
    shaky = [
        name
        for name, found in summary.all_differences.items()
        if not _all_seeds(leader(summary, name), found)
    ]
    words = {"argmax": "under argmax", "fitted": "with fitted offsets"}
    if shaky:
        said += f"; not every seed has that order {' and '.join(words[name] for name in shaky)}"
    return said + "."


def notes(summary: Summary) -> list[str]:
    """What a reader of the numbers under fitted decisions has to know."""
    if not summary.losses:
        return []
    runs = [run for loss in summary.losses for run in loss.runs]
    if not summary.decided:
        missing = [run for run in runs if not run.decided]
        earlier = [run for run in missing if "decision" not in run.result]
        why = (
            "from an earlier version, which fitted no offsets"
            if earlier
            else "without fitted offsets, as no pixel of the validation part has a label"
        )
        count = _of(len(earlier or missing), runs)
        return [f"Results are those of argmax: {count} {'is' if len(runs) == 1 else 'are'} {why}."]
    said = []
    if summary.in_sample:
        said.append(
            "Offsets were fitted to the validation part, which is reported too. Their mIoU is that"
            " of argmax plus the gain on images that they were not fitted to; all other numbers"
            " under them are in-sample, and too high."
        )
    noisy = [
        f"{loss.title} ({_of(loss.within_noise, loss.runs)})"
        for loss in summary.losses
        if loss.within_noise
    ]
    if noisy and len(summary.losses) > 1:  # of a single one the headline says it
        said.append(
            "What fitted offsets gain on validation images that they were not fitted to is within"
            f" noise for {', '.join(noisy)}."
        )
    return said


def leader(summary: Summary, decision: str) -> LossSummary:
    """The loss with the highest mIoU under a decision."""
    return max(summary.losses, key=lambda loss: loss.outcomes[decision].miou.mean)


def _alone(loss: LossSummary, part: str, *, in_sample: bool) -> str:
    """The result of a single loss."""
    first = f"{loss.title} reaches {loss.argmax.miou} % mIoU {part}"
    if loss.decided is None:
        return f"{first}."
    noise = ""
    if loss.within_noise == len(loss.runs):
        noise = ", which is within noise"
    elif loss.within_noise:
        noise = f", which is within noise in {_of(loss.within_noise, loss.runs)}"
    gain = f"{loss.gain:+} points{_interval(loss)}{noise}."
    if in_sample:
        return (
            f"{first} by argmax. Offsets were fitted to that part; on images of it that they were"
            f" not fitted to, the gain is {gain}"
        )
    return (
        f"{first} by argmax and {loss.decided.miou} % {WITH_OFFSETS}. On validation images that"
        f" they were not fitted to, the gain is {gain}"
    )


def _interval(loss: LossSummary) -> str:
    """The confidence interval of the gain of a single run."""
    decision = loss.runs[0].decision
    if len(loss.runs) > 1 or decision is None:
        return ""
    low, high = decision["interval"]
    if low is None or high is None:
        return " (too few for an interval)"
    return f" (95 % interval {Spread([low]):+} to {Spread([high]):+})"


def _reached(loss: LossSummary) -> str:
    """The mIoU of a loss, under both decisions."""
    if loss.decided is None:
        return f"{loss.title} {loss.argmax.miou} %"
    return f"{loss.title} {loss.argmax.miou} and {loss.decided.miou} %"


def _leads(best: LossSummary, differences: list[Difference]) -> str:
    """How far a loss is ahead of each other one."""
    said = []
    for pair in differences:
        if best.name in (pair.first, pair.second):
            other, ahead = _ahead(best, pair)
            seeds = sum(value > 0 for value in ahead.values)
            said.append(
                f"{ahead} points ahead of {TITLES[other]}"
                f" (for {seeds} of {len(ahead.values)} seeds)"
            )
    return " and ".join(said)


def _ahead(best: LossSummary, pair: Difference) -> tuple[str, Spread]:
    """The other loss of a pair, and the lead over it by seed."""
    sign = 1 if pair.second == best.name else -1
    other = pair.first if sign == 1 else pair.second
    return other, Spread([sign * value for value in pair.by_seed.values()])


def _all_seeds(best: LossSummary, differences: list[Difference]) -> bool:
    """Whether a loss is ahead of each other one for each seed."""
    pairs = [pair for pair in differences if best.name in (pair.first, pair.second)]
    return all(value > 0 for pair in pairs for value in _ahead(best, pair)[1].values)


def _ahead_of(summary: Summary, best: LossSummary, decision: str) -> str:
    """How far the mean of a loss is from the best of all others, in points."""
    others = [loss for loss in summary.losses if loss.name != best.name]
    means = [loss.outcomes[decision].miou.mean for loss in others]
    return f"{100 * (best.outcomes[decision].miou.mean - max(means)):.1f}"


def _apart(ahead: LossSummary, behind: LossSummary, decision: str) -> str:
    """How far the means of two losses are apart, in points."""
    first, second = (loss.outcomes[decision].miou.mean for loss in (ahead, behind))
    return f"{100 * (first - second):.1f}"


def _of(count: int, runs: Sequence[object]) -> str:
    """So many of all runs.

    >>> _of(1, [1, 2, 3]), _of(1, [1])
    ('1 of 3 runs', '1 of 1 run')
    """
    return f"{count} of {len(runs)} run{'s' * (len(runs) > 1)}"
