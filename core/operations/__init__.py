"""What operators need: the audit log, invariants and their healing, the schedule's last runs."""
