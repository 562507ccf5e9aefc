"""What a process counts by the way: requests, streams, tasks, refusals, failures; and how it is used at the moment.

Counting changes numbers in the process's memory, and nothing else. Every other second what has been added since goes
to Redis with one script, which takes each number once, and any web process shows the sums of all processes for
/metrics: they never run backwards when a scrape reaches another process, or one that has just begun. What a process
that is killed has not told yet is lost; what must not be is counted by core/stores/tally.py.
"""

import json
import logging
import secrets
from collections import Counter as Tallied
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from itertools import count
from threading import Event, Lock, Thread
from typing import NamedTuple, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.errors import Unavailable
from core.stores.redis import Redis, Script
from core.stores.samples import counted, stored_name

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 2.0
"""Seconds between two times that a process tells what it has counted."""
GAUGES_TTL = 20
"""Seconds for which a process's gauges count after it has told them."""
FLUSHED_TTL = 86400
"""Seconds for which it is known what a process has told last: it tells that again when it has no answer."""
TOTALS_KEY = "sb:{metrics}:totals"
"""A hash: by sample, how much was counted."""
GAUGES_KEY = "sb:{metrics}:gauges"
"""A hash: by process, when it has told its gauges, and those."""
FLUSHED_KEY = "sb:{metrics}:flushed:"

HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; of OpenTelemetry's conventions."""
TASK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""

FLUSH = """
local process, seq, told_ttl, gauges, gauges_ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local now = tonumber(redis.call('TIME')[1])
if seq > tonumber(redis.call('GET', KEYS[3]) or 0) then
  redis.call('SET', KEYS[3], seq, 'EX', told_ttl)
  for i = 6, #ARGV, 2 do redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
local told = redis.call('HGETALL', KEYS[2])
for i = 1, #told, 2 do
  if tonumber(string.match(told[i + 1], '^%d+') or 0) + gauges_ttl < now then redis.call('HDEL', KEYS[2], told[i]) end
end
if gauges == '' then redis.call('HDEL', KEYS[2], process)
else redis.call('HSET', KEYS[2], process, now .. ' ' .. gauges) end
"""

READ = """
return {redis.call('HGETALL', KEYS[1]), redis.call('HVALS', KEYS[2]), redis.call('TIME')[1]}
"""


class Outcome(StrEnum):
    """How one delivery of a task has ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The request was wrong, by the domain's rules."""
    UNAVAILABLE = "unavailable"
    """A store was away."""
    FAILED = "failed"
    """Unexpectedly."""
    RETRIED = "retried"
    """It will be delivered again."""
    SKIPPED = "skipped"
    """The run before it was still under way."""
    EXPIRED = "expired"
    """No worker took it in time."""
    REJECTED = "rejected"
    """No worker could read it, or an operator has revoked it."""


class Totals(NamedTuple):
    """What all processes have counted, and how they are used, by sample."""

    counted: Mapping[str, float]
    gauges: Mapping[str, float]


class _Batch(NamedTuple):
    number: int
    added: Mapping[str, float]
    counted: Mapping[str, float]
    """With all that was told before."""


class Counters:
    """Counts in this process. What it counts with is the library's: each has its labels' values given by name."""

    def __init__(self, redis: Redis) -> None:
        """`redis` fails at once, so that a scrape waits for nothing long."""
        self._flush: Script = redis.register_script(FLUSH)
        self._read: Script = redis.register_script(READ)
        self._process = secrets.token_hex(6)
        self._numbers = count(1)
        self._lock = Lock()
        self._told: Mapping[str, float] = {}
        self._sending: _Batch | None = None
        self._stopped = Event()
        self._thread: Thread | None = None
        self.registry = CollectorRegistry()
        self.http_requests = self._histogram(
            "http_server_request_duration_seconds",
            "HTTP requests, up to the beginning of the answer's body.",
            ("http_request_method", "http_route", "http_response_status_code"),
            HTTP_BUCKETS,
        )
        self.limit_refusals = self._counter(
            "switchboard_limit_refusals", "Requests that a limit has refused.", "policy"
        )
        self.streams = self._counter(
            "switchboard_streams", "Event streams that have begun: new ones, and those that go on.", "kind"
        )
        self.stream_resets = self._counter(
            "switchboard_stream_resets", "Streams whose reader had to read the conversation again.", "reason"
        )
        self.tasks = self._counter(
            "switchboard_tasks", "Deliveries of tasks, by how they have ended.", "outcome", "task"
        )
        self.task_durations = self._histogram(
            "switchboard_task_duration_seconds", "How long deliveries of tasks have run.", ("task",), TASK_BUCKETS
        )
        self.task_waits = self._histogram(
            "switchboard_task_queue_wait_seconds",
            "From the sending of a message to the beginning of its run.",
            ("task",),
            TASK_BUCKETS,
        )
        self.item_failures = self._counter(
            "switchboard_item_failures",
            "Failures of single rows or keys, which are tried again while the job goes on with the others.",
            "quarantine",  # not `job`, which Prometheus takes for itself
        )
        self.model_failures = self._counter(
            "switchboard_model_failures", "Questions to a model that its server has failed, by why.", "model", "kind"
        )
        self.cooldowns = self._counter(
            "switchboard_cooldowns", "How often a model has begun to rest, by why.", "model", "kind"
        )
        self.swept_sessions = self._counter("switchboard_swept_sessions", "Expired sessions that were deleted.")
        self.swept_accounts = self._counter(
            "switchboard_swept_accounts", "Accounts that were given up and of which nothing is left."
        )
        self.swept_logins = self._counter("switchboard_swept_logins", "Expired log-ins that were deleted.")
        self.swept_audit_events = self._counter(
            "switchboard_swept_audit_events", "Events of the audit log that were deleted, being older than it keeps."
        )
        self.open_streams = self._gauge("switchboard_open_streams", "Event streams that are open.")
        self.processes = self._gauge("switchboard_processes", "Processes that count.", "process")
        self.pool_connections = self._gauge(
            "switchboard_pool_connections_in_use", "Connections to a store that are in use.", "pool", "process"
        )
        self.pool_usage = self._gauge(
            "switchboard_pool_usage_ratio",
            "How much of its connections to a store the busiest process uses; 1 when all.",
            "pool",
            "process",
        )

    def count_outcomes(self, task: str, outcomes: Iterable[Outcome]) -> None:
        """Deliveries of a task have ended so."""
        for outcome, times in Tallied(outcomes).items():
            self.tasks.labels(outcome, task).inc(times)

    def count_failure(self, job: str) -> None:
        """One of the job's items has failed (core/stores/quarantine.py)."""
        self.item_failures.labels(job).inc()

    def count_model_failure(self, model: str, kind: str) -> None:
        """The model's server has failed a question."""
        self.model_failures.labels(model, kind).inc()

    def count_cooldown(self, model: str, kind: str) -> None:
        """The model begins to rest."""
        self.cooldowns.labels(model, kind).inc()

    def watch_pool(self, pool: str, process: str, use: Callable[[], tuple[int, int]]) -> None:
        """Show how many connections are in use, and of how many, as `use` tells it."""
        self.pool_connections.labels(pool, process).set_function(lambda: use()[0])
        self.pool_usage.labels(pool, process).set_function(lambda: use()[0] / use()[1])

    def start(self, process: str) -> None:
        """Tell what is counted, now and then, from a thread. `process` is its kind."""
        self.processes.labels(process).set(1)
        self._thread = Thread(target=self._flush_forever, name="counters", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell the rest: the process ends."""
        self._stopped.set()
        if self._thread is not None:
            try:
                self.flush(leaving=True)
            except Unavailable as error:
                logger.warning("what was counted last is lost: %s", error.reason)

    def flush(self, *, leaving: bool = False) -> None:
        """Add to the totals what was counted since. What may have come is told again, and taken once. Raises
        Unavailable."""
        with self._lock:
            if self._sending is not None:
                self._send(self._sending, leaving)
            now = counted(self.registry)
            added = {name: value - self._told.get(name, 0.0) for name, value in now.items()}
            self._sending = _Batch(next(self._numbers), {name: by for name, by in added.items() if by}, now)
            self._send(self._sending, leaving)

    def totals(self) -> Totals:
        """What all processes have counted since Redis was new. Raises Unavailable."""
        pairs, told, now = cast("tuple[list[str], list[str], str]", self._read(keys=[TOTALS_KEY, GAUGES_KEY]))
        gauges: dict[str, float] = {}
        for at, of_process in (each.split(" ", 1) for each in told):
            if int(now) - int(at) <= GAUGES_TTL:
                for name, value in json.loads(of_process).items():
                    _merge(gauges, name, value)
        return Totals({name: float(value) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}, gauges)

    def _send(self, batch: _Batch, leaving: bool) -> None:
        gauges = "" if leaving or self._thread is None else json.dumps(self._gauges())
        pairs = [each for name, by in batch.added.items() for each in (name, repr(by))]
        self._flush(
            keys=[TOTALS_KEY, GAUGES_KEY, FLUSHED_KEY + self._process],
            args=[self._process, batch.number, FLUSHED_TTL, gauges, GAUGES_TTL, *pairs],
        )
        self._told, self._sending = batch.counted, None

    def _gauges(self) -> dict[str, float]:
        return {
            stored_name(sample): sample.value
            for metric in self.registry.collect()
            if metric.type == "gauge"
            for sample in metric.samples
        }

    def _flush_forever(self) -> None:
        while not self._stopped.wait(FLUSH_INTERVAL):
            try:
                self.flush()
            except Unavailable:
                pass  # it is told with the next
            except Exception:
                logger.exception("what is counted could not be told")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, labels: Iterable[str], buckets: Iterable[float]) -> Histogram:
        return Histogram(name, meaning, tuple(labels), buckets=tuple(buckets), registry=self.registry)


def _merge(gauges: dict[str, float], name: str, value: float) -> None:
    """Processes' gauges add up, but for ratios, of which the greatest counts."""
    is_ratio = json.loads(name)[0].endswith("_ratio")
    gauges[name] = max(gauges.get(name, 0.0), value) if is_ratio else gauges.get(name, 0.0) + value
