"""Alerts: what is judged wrong, who is told of it and when, and a sign of life per run."""
