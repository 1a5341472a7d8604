"""Numbers as people read them."""

from __future__ import annotations


def share_text(part: int, whole: int) -> str:
    """A share in percent, with one decimal below ten.

    >>> share_text(123, 1000), share_text(12, 1000), share_text(0, 1000), share_text(1, 10_000), share_text(0, 0)
    ('12 %', '1.2 %', '0 %', '< 0.1 %', '–')
    """
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 9.95 else f"{share:.0f} %"


def magnitude(count: int) -> str:
    """A large number in short.

    >>> magnitude(4_089_184_256), magnitude(853_018), magnitude(96)
    ('4.09 G', '853 k', '96')
    """
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            value = count / factor
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"
    return str(count)


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "group"), counted(1200, "channel")
    ('1 group', '1,200 channels')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def byte_text(count: int) -> str:
    """A size of a file.

    >>> byte_text(124_462), byte_text(3_500_000), byte_text(12)
    ('124 kB', '3.50 MB', '12 bytes')
    """
    return f"{magnitude(count)}B" if count >= 1000 else f"{count} bytes"
