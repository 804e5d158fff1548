"""Tests, in folders as in lad_rllib, and what they share: reference loops and published numbers."""
