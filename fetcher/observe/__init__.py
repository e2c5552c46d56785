"""Listeners: logs and progress. The core tells facts and knows none of them."""
