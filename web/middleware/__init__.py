"""What runs around every request: headers, hosts, CSRF, problems."""
