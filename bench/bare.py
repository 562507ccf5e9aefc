"""The baselines: the least that a program can do with a provider's answers, in as many threads as there are."""

import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import openai

from bench.provider import Manner
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.llm.providers.base import Turn


class Answer(NamedTuple):
    """What one thread has read."""

    text: str
    asked: int
    """When, in nanoseconds of the machine's monotonic clock."""
    arrivals: "array[int]"
    """When each token came, on the same clock."""


def run(control: Connection, url: str, models: Path) -> None:
    """The process. For each (loop, manner, streams) it is sent, sends back the answers and how many seconds it took.

    The loops are `sdk`, over the chunks as the openai package has them, and `pool`, as core/generation/writer.py gets
    them.
    """
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    pool = ClientPool(load_catalog(models), url)
    loops = {"sdk": lambda manner: _from_sdk(client, manner), "pool": lambda manner: _from_pool(pool, manner)}
    while True:
        loop, manner, streams = control.recv()
        began = time.monotonic()
        with ThreadPoolExecutor(streams) as threads:
            answers = list(threads.map(lambda each, pieces=loops[loop]: _read(pieces, each), [manner] * streams))
        control.send((answers, time.monotonic() - began))


def _read(pieces: Callable[[Manner], Iterator[str]], manner: Manner) -> Answer:
    texts: list[str] = []
    arrivals = array("Q")
    asked = time.monotonic_ns()
    for piece in pieces(manner):
        texts.append(piece)
        arrivals.append(time.monotonic_ns())
    return Answer("".join(texts), asked, arrivals)


def _from_sdk(client: openai.OpenAI, manner: Manner) -> Iterator[str]:
    stream = client.chat.completions.create(
        model=str(manner),
        messages=[{"role": "user", "content": "Count."}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def _from_pool(pool: ClientPool, manner: Manner) -> Iterator[str]:
    for chunk in pool.open(str(manner), [Turn("user", "Count.")]):
        if chunk.text:
            yield chunk.text
