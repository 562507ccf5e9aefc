"""Mistakes in what operators write, found before a process starts its work: one line each, without secrets."""
