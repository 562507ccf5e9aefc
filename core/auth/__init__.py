"""Who somebody is: accounts, logins, API keys, passwords, OpenID Connect."""
