"""Request logs as tasks: how a file is read, checked and laid out in slots."""
