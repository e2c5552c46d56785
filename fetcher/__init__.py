"""Keeps a database of OHLCV candles complete, correct and explained."""
