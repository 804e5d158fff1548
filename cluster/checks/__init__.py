"""What ``cluster/check.py`` looks at, a file of this folder for each kind of file."""
