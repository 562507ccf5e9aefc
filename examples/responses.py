"""Ask with OpenAI's package, read the answer as it is written, and go on wherever the connection breaks.

The answer is written whether somebody reads it or not: each event has a `sequence_number`, and the stream goes on
after any of them.
"""

import os
import sys
import time

from openai import APIConnectionError, InternalServerError, OpenAI, omit

client = OpenAI(base_url=os.environ["SWITCHBOARD_URL"] + "/v1", api_key=os.environ["SWITCHBOARD_KEY"])


def ask(question: str, previous: str | None = None) -> str:
    """Print the answer to a question, which follows the response of the id `previous`; the id of the new one. Exits
    with 1 for an answer that failed."""
    response = client.responses.create(
        model=os.environ.get("SWITCHBOARD_MODEL") or client.models.list().data[0].id,
        input=question,
        previous_response_id=previous,
        background=True,
    )
    last, ended, failure = -1, False, None
    while not ended:
        try:
            after = last if last >= 0 else omit
            with client.responses.retrieve(response.id, stream=True, starting_after=after) as events:
                for event in events:
                    last = event.sequence_number
                    if event.type == "response.output_text.delta":
                        print(event.delta, end="", flush=True)
                    elif event.type == "response.failed":
                        failure = event.response.error.message if event.response.error else "no reason is known"
                    elif event.type == "error":
                        failure = event.message
                    ended = event.type in ("response.completed", "response.incomplete") or failure is not None
        except (APIConnectionError, InternalServerError):
            time.sleep(1)
    print()
    if failure is not None:
        sys.exit(f"The answer failed: {failure}")
    return response.id


if __name__ == "__main__":
    answered = None
    for each in sys.argv[1:]:
        answered = ask(each, answered)
