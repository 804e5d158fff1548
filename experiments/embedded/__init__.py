"""The parts of ``experiments/embedded_model.py``: pictures, prompts, the pipeline, its training and its quality."""
