"""``python -m rawzoo``."""

from rawzoo.cli import main

main()
