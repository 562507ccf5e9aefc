"""What operators need: the audit log, invariants and their healing, the last runs of jobs."""
