"""Authentication: accounts, logins, API keys, passwords, OpenID Connect."""
