"""How many files and connections this process may hold open at once."""

import resource

MAX_DESCRIPTORS = 1_048_576
"""Descriptors: asked for where the hard limit is `unlimited`, which Linux does not grant as such."""


def raise_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one, for this process and its children; return it.

    The soft limit is usually 1,024, for programs that use select(2). Nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # the kernel's own bound (fs.nr_open) is lower
        return soft
    return wanted
