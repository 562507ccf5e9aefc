"""What a process tells of itself while it works: its log, and traces."""
