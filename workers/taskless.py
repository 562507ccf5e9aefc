"""The Celery application of processes that run no task: beat, which sends for them, and Flower, which watches them.

It knows the queues and nothing of the domain, which takes half of a worker's memory.
"""

from celery import Celery

app = Celery("switchboard")
app.config_from_object("celery_config")
