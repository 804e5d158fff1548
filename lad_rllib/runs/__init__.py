"""Training, searching, evaluating and generating, as a library: what the command line and experiments call."""
