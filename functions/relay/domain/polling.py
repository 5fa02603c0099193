"""A look for what has not come yet adds at most a tenth to the wait for it, or two seconds."""


def until_next_look(quiet: float, shortest: float = 0.3, longest: float = 2) -> float:
    """Return the seconds until the next look, after so many in which nothing came."""
    return min(max(quiet / 10, shortest), longest)
