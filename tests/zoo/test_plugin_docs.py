"""docs/plugins.md cannot fall behind the code."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from rawzoo.tasks import Task, builtin
from rawzoo.zoo import hookspecs
from rawzoo.zoo.card import ModelCard, Weights

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("rawzoo_")}


def test_every_hook_has_a_heading_with_its_arguments():
    documented = re.findall(r"^### (rawzoo_.*)$", TEXT, re.MULTILINE)
    expected = [f"{name}({', '.join(inspect.signature(hook).parameters)})" for name, hook in HOOKS.items()]
    assert sorted(documented) == sorted(expected)


@pytest.mark.parametrize("described", [ModelCard, Weights, Task])
def test_every_field_is_described(described):
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    rows = {name for row in rows for name in re.findall(r"`(.*?)`", row)}
    assert not {field.name for field in dataclasses.fields(described)} - rows


def test_every_task_is_described():
    """Each has a chapter that names its domains."""
    for task in builtin.TASKS:
        chapter = TEXT.partition(f"## Tensors of the task {task.name}\n")[2].partition("\n## ")[0]
        for domain in (*task.inputs, *task.outputs):
            assert f"`{domain}`" in chapter, (task.name, domain)


def test_template_is_quoted_as_it_is():
    """Code blocks that name a file of the template hold text of that file."""
    folder = ROOT / "examples" / "rawzoo-plugin-template"
    blocks = re.findall(r"^`([\w./]+)`:\n\n```\w*\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for path, block in blocks:
        assert block.strip() in (folder / path).read_text(), path


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
