"""Who sends a request: credentials, cookies, principals, addresses."""
