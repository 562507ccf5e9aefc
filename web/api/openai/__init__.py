"""/v1: the wires of OpenAI's API, for its clients and for front ends that take a base URL."""
