"""Tests on a cluster of several nodes; a package, so that its fixtures end with it."""
