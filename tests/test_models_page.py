"""docs/models.md cannot fall behind the cards."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import generate_models  # noqa: E402

TEXT = generate_models.PAGE.read_text(encoding="utf-8")
CARDS = generate_models.cards()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_what_is_said_of_a_model_is_current(card):
    assert generate_models.row(card) in TEXT, "run python docs/generate_models.py"
    assert generate_models.section(card) in f"{TEXT}\n", "run python docs/generate_models.py"


def test_the_whole_page_is_current():
    """Only with all plugins, since it lists the models of all of them."""
    missing = generate_models.missing()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert generate_models.page(CARDS) == TEXT, "run python docs/generate_models.py"
