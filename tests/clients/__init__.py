"""Real client packages, which know nothing of us, against a whole installation."""
