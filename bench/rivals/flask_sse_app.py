"""flask-sse as it comes, with a thread for each answer that publishes it token by token."""

import os
from threading import Thread

import openai
from flask import Flask, request
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")
client = openai.OpenAI(base_url=os.environ["PROVIDER_URL"], api_key="none")


@app.get("/")
def ready() -> str:
    """Whether the server is there."""
    return "ready"


@app.post("/ask")
def ask() -> tuple[str, int]:
    """Have a question answered on a channel."""
    asked = request.get_json()
    Thread(target=answer, args=(asked["model"], asked["channel"])).start()
    return "", 202


def answer(model: str, channel: str) -> None:
    """Publish the answer."""
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Count."}], stream=True
    )
    with app.app_context():
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                sse.publish({"text": chunk.choices[0].delta.content}, channel=channel)
        sse.publish({}, type="done", channel=channel)
