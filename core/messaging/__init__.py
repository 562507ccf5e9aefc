"""What processes tell each other over Redis: replies, consumers of queues, revocations."""
