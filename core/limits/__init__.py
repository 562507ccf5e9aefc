"""How much is too much: rates, and what may be under way at the same time."""
