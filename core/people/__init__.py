"""Accounts, and the ways in which people and programs prove who they are."""
