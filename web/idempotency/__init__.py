"""Requests that are sent twice under one Idempotency-Key."""
