"""The baselines: the least that a program can do with a provider's answers, in threads, or in one loop."""

import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import openai
import uvloop

from bench.provider import Manner
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.llm.event_loop import EventLoop
from core.llm.providers.base import Turn


class Answer(NamedTuple):
    """What has been read of one."""

    texts: list[str]
    asked: int
    """When, in nanoseconds of the machine's monotonic clock."""
    arrivals: "array[int]"
    """When each token came, on the same clock."""

    def add(self, text: str) -> None:
        """Take note of a token that has come."""
        self.texts.append(text)
        self.arrivals.append(time.monotonic_ns())

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


def run(control: Connection, url: str, models: Path) -> None:
    """The process. For each (loop, manner, streams) it is sent, sends back the answers and how many seconds it took.

    The loops are `sdk`, over the chunks as the openai package has them, and `pool`, as the writer of answers gets
    them.
    """
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    pool, event_loop = ClientPool(load_catalog(models), url), EventLoop(uvloop.new_event_loop)
    loops: dict[str, Callable[[Manner, Answer], object]] = {
        "sdk": lambda manner, answer: _from_sdk(client, manner, answer),
        "pool": lambda manner, answer: event_loop.run(_from_pool(pool, manner, answer)),
    }
    while True:
        loop, manner, streams = control.recv()
        began = time.monotonic()
        with ThreadPoolExecutor(streams) as threads:
            answers = list(threads.map(lambda each, read=loops[loop]: _read(read, each), [manner] * streams))
        control.send((answers, time.monotonic() - began))


def _read(read: Callable[[Manner, Answer], object], manner: Manner) -> Answer:
    answer = Answer([], time.monotonic_ns(), array("Q"))
    read(manner, answer)
    return answer


def _from_sdk(client: openai.OpenAI, manner: Manner, answer: Answer) -> None:
    stream = client.chat.completions.create(
        model=str(manner),
        messages=[{"role": "user", "content": "Count."}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            answer.add(chunk.choices[0].delta.content)


async def _from_pool(pool: ClientPool, manner: Manner, answer: Answer) -> None:
    async for chunk in pool.open(str(manner), [Turn("user", "Count.")]):
        if chunk.text:
            answer.add(chunk.text)
