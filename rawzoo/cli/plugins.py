"""``rawzoo plugins``."""

from __future__ import annotations

from rawzoo.cli.console import JsonOption, columns, print_json, write


def plugins(as_json: JsonOption = False) -> None:
    """List the plugins, what each one registered, and why any was left out."""
    from rawzoo.zoo.manager import get_manager

    manager = get_manager()
    if as_json:
        loaded = [{**vars(p.origin), "hooks": p.hooks, "registered": p.registered} for p in manager.plugins]
        print_json({"plugins": loaded, "failures": [vars(f) for f in manager.failures]})
        return
    table = columns("plugin", "from", "version", "registers")
    for p in manager.plugins:
        what = [f"{kind}{'s' * (len(names) > 1)} {', '.join(names)}" for kind, names in p.registered.items()]
        table.add_row(p.origin.name, p.origin.distribution, p.origin.version, "; ".join(what) or "nothing")
    write(table)
    for f in manager.failures:
        write()
        write(f"{f.name} ({f.distribution} {f.version}) was left out: its {f.phase} failed.", style="bold red")
        write(f.traceback.rstrip())
