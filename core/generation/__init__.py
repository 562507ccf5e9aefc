"""How an answer is written: the queue, the attempts of workers, what the model is asked with, and how it ends."""
