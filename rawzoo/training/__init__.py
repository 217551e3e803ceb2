"""Training: a recipe (YAML) names a model, data, a loss and a schedule; PyTorch Lightning does the loop.

* :mod:`~rawzoo.training.recipe` reads and checks recipes;
* :mod:`~rawzoo.training.datasets`, :mod:`~rawzoo.training.losses` and :mod:`~rawzoo.training.schedules` hold what they
  can name;
* :mod:`~rawzoo.training.module` is one step of training and one of validation;
* :mod:`~rawzoo.training.run` puts all of it together.

Needs ``pip install rawzoo[train]``. docs/training.md says how to use it.
"""
