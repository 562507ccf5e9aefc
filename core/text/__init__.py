"""Rules about texts: which characters are stored, what of a URL is shown, which names a host may have."""
