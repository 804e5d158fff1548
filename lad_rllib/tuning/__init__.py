"""Hyperparameters of LAD-TS with Ray Tune: what is searched, what a trial does, which are chosen, what they gave."""
