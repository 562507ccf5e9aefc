"""Samples of metrics as they are stored: a text for the name and the labels, and a number.

The library's own objects, in a registry, do the counting: what they have counted are samples, which add up over
processes and over time, a histogram's buckets too. Read back, they are told as the registry's metrics.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, Sample

COUNTED = ("counter", "histogram")
"""The types of metrics that only grow. The others are of this moment."""


MAX_NAMES = 10_000
"""Names that are kept: they are asked for again and again."""


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """What the registry's counters and histograms have counted, by sample; nothing of those at 0."""
    return {
        stored_name(sample): sample.value
        for metric in registry.collect()
        if metric.type in COUNTED
        for sample in _told(metric)
        if sample.value
    }


def expose(registry: CollectorRegistry, stored: Mapping[str, float]) -> Iterator[Metric]:
    """The registry's counters and histograms with the stored values; 0 for those of the registry's own samples that
    are not stored. What is stored of metrics that the registry does not know, of another version, is left out."""
    values: defaultdict[str, dict[str, Sample]] = defaultdict(dict)
    for name, value in stored.items():
        sample = _sample(name, value)
        values[sample.name][name] = sample
    for known in registry.collect():
        if known.type not in COUNTED:
            continue
        metric = Metric(known.name, known.documentation, known.type)
        samples = {stored_name(sample): sample._replace(value=0.0) for sample in _told(known)}
        for suffix in ("_total", "_bucket", "_count", "_sum"):
            samples |= values[known.name + suffix]
        metric.samples = sorted(samples.values(), key=_order)
        yield metric


def expose_gauges(registry: CollectorRegistry, stored: Mapping[str, float]) -> Iterator[Metric]:
    """The registry's gauges with the stored values, and no others."""
    samples = [_sample(name, value) for name, value in stored.items()]
    for known in registry.collect():
        if known.type == "gauge":
            metric = Metric(known.name, known.documentation, known.type)
            metric.samples = sorted((each for each in samples if each.name == known.name), key=_order)
            yield metric


def stored_name(sample: Sample) -> str:
    """The sample's name and labels, as they are stored."""
    return _stored(sample.name, tuple(sample.labels.items()))


@lru_cache(MAX_NAMES)
def _stored(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return json.dumps([name, dict(labels)], separators=(",", ":"), sort_keys=True)


def _sample(stored: str, value: float) -> Sample:
    name, labels = json.loads(stored)
    return Sample(name, labels, value)


def _told(metric: Metric) -> list[Sample]:
    """Without the moments at which the process has begun to count, which concern no other."""
    return [sample for sample in metric.samples if not sample.name.endswith("_created")]


def _order(sample: Sample) -> tuple[list[tuple[str, str]], str, float]:
    """A histogram's buckets one after the other, the least first."""
    labels = sorted(pair for pair in sample.labels.items() if pair[0] != "le")
    return labels, sample.name, float(sample.labels.get("le", 0))
