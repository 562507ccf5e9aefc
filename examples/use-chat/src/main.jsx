import { useChat } from "@ai-sdk/react";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { CHAT, loadMessages, problem, stopAnswer } from "./conversation.js";

/** Milliseconds until a broken connection is tried again. */
const PAUSE = 1000;

function Chat({ history }) {
  const { messages, setMessages, sendMessage, regenerate, resumeStream, status, error } = useChat({
    id: CHAT,
    messages: history,
    resume: true, // after a reload, go on with the answer that is being written
  });
  const [question, setQuestion] = useState("");
  const [attempt, setAttempt] = useState(0);
  const busy = status === "submitted" || status === "streaming";
  const unanswered = status === "ready" && messages.at(-1)?.role === "user";
  const broken = status === "error" && isBroken(error);

  // A connection that broke is no answer's end. The conversation is read anew, without the answer that is being written,
  // and that one is gone on with. If it has ended in between, the conversation has it when it is read once more.
  useEffect(() => {
    if (!unanswered && !broken) return undefined;
    const timer = setTimeout(async () => {
      try {
        setMessages(await loadMessages());
        await resumeStream();
      } catch {
        // The server is still away.
      }
      setAttempt(attempt + 1);
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [unanswered, broken, attempt]);

  function ask(event) {
    event.preventDefault();
    if (!question.trim()) return;
    sendMessage({ text: question });
    setQuestion("");
  }

  return (
    <main>
      <h1>useChat on Switchboard</h1>
      {messages.map((message) => (
        <Message key={message.id} message={message} />
      ))}
      {busy && <p className="note">Answering …</p>}
      {status === "error" && !broken && (
        <p role="alert">
          {problem(error.message)} <button onClick={() => regenerate()}>Try again</button>
        </p>
      )}
      <form onSubmit={ask}>
        <input aria-label="Question" value={question} onChange={(event) => setQuestion(event.target.value)} />
        {busy ? (
          <button type="button" onClick={stopAnswer}>
            Stop
          </button>
        ) : (
          <button>Ask</button>
        )}
      </form>
    </main>
  );
}

function Message({ message }) {
  return (
    <article className="message" aria-label={message.role} data-state={message.metadata?.finish_reason}>
      {message.parts.map((part, number) => {
        switch (part.type) {
          case "text":
            return <span key={number}>{part.text}</span>;
          case "reasoning":
            return (
              <details className="reasoning" key={number}>
                <summary>Thoughts</summary>
                {part.text}
              </details>
            );
          case "data-fallback":
            return (
              <p className="note" key={number}>
                {part.data.from} did not answer; {part.data.to} does.
              </p>
            );
          default:
            return null;
        }
      })}
    </article>
  );
}

/** Whether the network broke, rather than that the question was refused or its answer failed. */
function isBroken(error) {
  return error instanceof TypeError;
}

const history = await loadMessages();
createRoot(document.getElementById("root")).render(<Chat history={history} />);
