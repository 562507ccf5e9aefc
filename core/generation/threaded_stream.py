"""Reads a synchronous ChunkStream in a thread of its own, for a coroutine."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from core.llm.providers.base import Chunk, ChunkStream


async def threaded(stream: ChunkStream) -> AsyncGenerator[Chunk, None]:
    """Its chunks. The connection is closed when the generator is, or when the coroutine that reads is cancelled."""
    loop, thread, chunks = asyncio.get_running_loop(), ThreadPoolExecutor(1, "stream"), iter(stream)
    try:
        while (chunk := await loop.run_in_executor(thread, next, chunks, None)) is not None:
            yield chunk
    finally:
        stream.abort()
        thread.shutdown(wait=False)
