"""Soft actor-critic that LAD-TS, D2SAC-TS and SAC-TS share: networks, losses, one update of all stations."""
