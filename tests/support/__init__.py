"""Real servers and other helpers that tests share."""
