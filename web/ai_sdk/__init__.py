"""The AI SDK's UI message stream, version 1: what the transports of `ai` and `@ai-sdk/workflow` send and read."""
