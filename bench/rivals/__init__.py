"""Switchboard beside what its users would take instead."""
