"""What listens to the core: logs and progress. The core knows none of it (fetcher/events.py)."""
