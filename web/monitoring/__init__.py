"""Figures for operators: metrics, readiness, lengths of queues."""
