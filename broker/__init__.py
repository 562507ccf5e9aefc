"""What Celery speaks to its broker with: transports, and what is asked of queues."""
