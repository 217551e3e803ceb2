"""Sources of plugins for tests."""

from textwrap import dedent


def write_plugin(folder, distribution, source, version="1.0"):
    """Puts a distribution with one module, its plugin, into a folder; gives the module's name."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text("import rawzoo\n" + dedent(source))
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[rawzoo]\nplugin = {module}\n")
    return module


def registers_models(*names, **fields):
    """Source of a plugin with these models."""
    fields = {"task": "demosaic", "architecture": "nowhere.network:Net", "halo": 1} | fields
    return f"""
@rawzoo.hookimpl
def rawzoo_register_models(register):
    for name in {names!r}:
        register(rawzoo.ModelCard(name=name, **{fields!r}))
"""
