"""gunicorn's worker: deadlines and bounds for connections."""
