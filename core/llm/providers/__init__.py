"""The wire formats of model providers: requests, streams, errors, proxies."""
