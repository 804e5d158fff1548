"""Compiled rules for requests that come one by one: the yardsticks that an engineer or a reviewer would name."""
