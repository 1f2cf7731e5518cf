"""Numbers as people read them."""


def plain(value, digits=3):
    """So many significant digits, but never fewer than all before the point: 0.063, 7.1, 1,234."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0
    while size < 10 ** (digits - 1) and decimals < digits + 1:
        size *= 10
        decimals += 1
    return f"{value:,.{decimals}f}"


def ratio(value):
    """Two decimals, but one where the second says nothing."""
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def precise(value):
    """For a table: a difference of one in a thousand shows, where it means something."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def count(value):
    return "–" if value is None else f"{value:,.0f}"


def amount(value):
    """An argument: 1000 is 1,000, and from a million on 1e6."""
    if isinstance(value, str):
        return value
    exponent = len(str(int(value))) - 1
    if exponent >= 6 and value == 10**exponent:
        return f"1e{exponent}"
    return count(value)


def short(value):
    """On an axis: 100, 1k, 10k, 1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def duration(ns):
    """On an axis: 1 ns, 10 µs, 1 ms, 1 s."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"
