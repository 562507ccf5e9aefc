"""The models on offer, the pool of clients that reach them, and their cooldowns."""
