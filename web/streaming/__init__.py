"""Server-sent events: the hub that hears Redis, and the readers of sessions' logs."""
