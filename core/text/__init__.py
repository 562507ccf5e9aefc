"""Rules about texts: which characters are stored, what of a URL is shown, which names a Host header may have."""
