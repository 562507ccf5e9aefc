"""What charges a request against its sender's limits, and tells how they stand."""
