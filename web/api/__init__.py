"""The blueprints, one a file, named after their URLs."""
