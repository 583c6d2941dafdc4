"""Asking an endpoint: transport, retries, rate limit, costs, response log, batches."""
