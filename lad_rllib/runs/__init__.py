"""Training, searching, evaluating, generating and calibrating, as a library for the command line and experiments.

Each takes its options, declared in :mod:`lad_rllib.runs.options`, and returns what became of it:
``train.train(TrainOptions(...))``, ``tune.search(SearchOptions(...))``, ``evaluate.evaluate(EvaluateOptions(...))``,
``generate.generate(GenerateOptions(...))``, ``calibrate.calibrate_fleet(CalibrateOptions(...))``.
"""
