"""Integer division that rounds up."""


def ceil_div(number: int, divisor: int) -> int:
    """Return `number / divisor` rounded up to an integer: exact, however large the numbers are."""
    return -(-number // divisor)
