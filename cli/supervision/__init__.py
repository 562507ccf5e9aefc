"""Processes that `switchboard up` starts, watches and ends."""
