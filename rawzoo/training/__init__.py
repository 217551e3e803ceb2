"""Training: a recipe (YAML) names a model, data, a loss and a schedule; PyTorch Lightning does the loop.

:mod:`~rawzoo.training.recipe` reads and checks recipes, :mod:`~rawzoo.training.datasets` and
:mod:`~rawzoo.training.losses` hold what a recipe can name, :mod:`~rawzoo.training.module` is one training step and
one validation, :mod:`~rawzoo.training.run` puts them together. Needs ``pip install rawzoo[train]``; only
``run`` and ``module`` import Lightning.
"""
