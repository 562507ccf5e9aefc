"""What is said in a session: the event log in Redis, the transcript in SQL, and how a reader joins them."""
