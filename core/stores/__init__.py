"""The two stores: the SQL database and Redis, and what it means that one of them is away."""
