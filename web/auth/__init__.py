"""A request's sender: credentials, cookies, principals, addresses."""
