"""Chainlit's streaming example: the answer of an OpenAI-compatible server, token by token."""

import os

import chainlit  # type: ignore[import-not-found]
import openai

client = openai.AsyncOpenAI(base_url=os.environ["PROVIDER_URL"], api_key="none")


@chainlit.on_message
async def main(message: chainlit.Message) -> None:
    """Answer a message, which is the model's name."""
    answer = chainlit.Message(content="")
    stream = await client.chat.completions.create(
        model=message.content, messages=[{"role": "user", "content": "Count."}], stream=True
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            await answer.stream_token(chunk.choices[0].delta.content)
    await answer.send()
