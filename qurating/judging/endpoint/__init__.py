"""Requests to a paid endpoint: transport, retries, rate limiter, costs, response log, batches."""
