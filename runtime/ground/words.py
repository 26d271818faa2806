"""Words that are said in many places and mean one thing."""

# docs/hardware.md: what has run where, and which command is the missing step
NOT_ON_HARDWARE = "not yet run on hardware"


def time_ratio(ratio: float, low: float | None, high: float | None, against: str) -> str:
    """``time ratio 0.61 (0.58 to 0.66) to fp32``: the time of one by that of the other, lower is better, and its quartiles."""
    spread = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"time ratio {ratio:.2f}{spread} to {against}"


def speed_verdict(low: float, high: float) -> str:
    """What a time ratio with these quartiles says: where 1 is within its spread, neither faster nor slower."""
    return "is faster" if high < 1 else "LOST" if low > 1 else "is no faster within the spread"
