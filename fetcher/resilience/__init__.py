"""What stands between us and a source's bad day: budget, breaker, retry, health; shared by all processes."""
