"""Fill every page; see :mod:`experiments.pages`."""

from experiments.pages import main

main()
