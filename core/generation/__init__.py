"""How an answer is written: whose turn it is, who writes it, what happens when they die, and how it ends."""
