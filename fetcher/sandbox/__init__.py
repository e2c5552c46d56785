"""An exchange on loopback that speaks the vendors' wire formats: market (truth), format, limits, faults, server apart.

Run one with `python -m fetcher.sandbox`; tests start one with `fetcher.sandbox.control.spawn_sandbox`.
"""
