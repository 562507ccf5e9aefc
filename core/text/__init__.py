"""Rules about texts: which characters may be stored, what of a URL may be shown, which names a Host header may have."""
