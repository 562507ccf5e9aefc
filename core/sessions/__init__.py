"""Sessions: the only writer of their table, what is done to them, and their lifetimes, limits and sweep."""
