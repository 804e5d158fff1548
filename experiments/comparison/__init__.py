"""What the experiments share that train several cases - methods, settings, variants - with several seeds each."""
