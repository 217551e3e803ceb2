"""Plugins are loaded one by one; what one of them does wrong stays with it."""

import sys
import threading

import pytest
import typer
from plugin_sources import registers_models

from rawzoo.errors import PluginError, UsageError
from rawzoo.zoo import registry
from rawzoo.zoo.manager import get_manager, register_commands


def names():
    return [card.name for card in registry.models()]


BUILT_IN = ["bilinear", "gbtf", "hamilton-adams", "malvar", "markesteijn", "markesteijn-1", "menon", "rcd"]


def test_built_in_models_come_through_the_hooks(install):
    assert names() == BUILT_IN
    assert registry.runtimes() == ["torch"]
    tasks = ["classify", "demosaic", "isp", "quality", "restore", "super-resolution", "white-balance"]
    assert [task.name for task in registry.tasks()] == tasks
    by_hook = {hook for plugin in get_manager().plugins for hook in plugin.hooks}
    assert by_hook == {"rawzoo_register_models", "rawzoo_register_tasks", "rawzoo_register_runtimes"}


def test_installed_plugin_is_found(install, warned):
    install("good-zoo", registers_models("a", "b"), version="2.5")
    assert names() == ["a", "b", *BUILT_IN]
    origin = get_manager().origin("model", "a")
    assert (origin.name, origin.distribution, origin.version) == ("plugin", "good-zoo", "2.5")
    assert warned() == []


FAILURES = {
    "import": ("raise RuntimeError('no luck\\nsecond line')", "import", "RuntimeError: no luck"),
    "import of something missing": ("import not_installed_anywhere", "import", "ModuleNotFoundError: "),
    "syntax": ("def f(:", "import", "SyntaxError: "),
    "exit": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "unknown hook": ("@rawzoo.hookimpl\ndef rawzoo_register_cows(register): pass", "registration", "unknown hook"),
    "unknown argument": ("@rawzoo.hookimpl\ndef rawzoo_register_models(r): pass", "registration", "PluginValidation"),
    "no hook": ("def rawzoo_register_models(register): pass", "registration", "mark its hook functions"),
    "hook call": (registers_models("half") + "    raise KeyError('oops')", "hook", "KeyError: 'oops'"),
    "bad card": (registers_models("half", halo=-1), "hook", "'half' has a bad card: halo must be"),
    "twice": (registers_models("half", "half"), "hook", "registers the model 'half' twice"),
    "no card": ("@rawzoo.hookimpl\ndef rawzoo_register_models(register): register('half')", "hook", "not a rawzoo.Mod"),
    "bad runtime": (
        "@rawzoo.hookimpl\ndef rawzoo_register_runtimes(register): register('fast', 'no dots')",
        "hook",
        "'package.module:callable', not 'no dots'",
    ),
}


@pytest.mark.parametrize(("source", "phase", "message"), FAILURES.values(), ids=FAILURES)
def test_failure_is_reported_and_harms_nobody(install, warned, source, phase, message):
    install("a-good-one", registers_models("first"))
    install("broken-zoo", source)
    install("z-good-one", registers_models("last"))
    assert names() == sorted([*BUILT_IN, "first", "last"])
    (failure,) = get_manager().failures
    assert (failure.name, failure.distribution, failure.version) == ("plugin", "broken-zoo", "1.0")
    assert failure.phase == phase
    assert message in failure.error
    assert "\n" not in failure.error
    assert "Traceback" in failure.traceback
    (line,) = warned()
    assert line == f"rawzoo: plugin plugin (broken-zoo 1.0) left out, {phase} failed: {failure.error}"
    with pytest.raises(UsageError, match=r"Left out because of errors: broken-zoo; see `rawzoo plugins`"):
        registry.card("half")


@pytest.mark.parametrize("source", [FAILURES["import"][0], FAILURES["no hook"][0], FAILURES["hook call"][0]])
def test_strict_raises_every_time(install, monkeypatch, source):
    install("broken-zoo", source)
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    for _ in range(2):
        with pytest.raises((RuntimeError, PluginError, KeyError)):
            registry.models()
    monkeypatch.delenv("RAWZOO_STRICT_PLUGINS")
    assert names() == BUILT_IN


def test_name_of_two_plugins_is_neithers(install, warned):
    install("first-zoo", registers_models("disputed", "mine"))
    install("second-zoo", registers_models("other", "disputed"), version="3")
    # What can be used stays usable, all of the second is left out, and nobody gets a model they did not mean.
    assert names() == sorted([*BUILT_IN, "mine"])
    with pytest.raises(PluginError, match=r"both first-zoo 1.0 and second-zoo 3 register the model 'disputed'"):
        registry.card("disputed")
    with pytest.raises(PluginError, match="both first-zoo"):
        registry.load("disputed")
    assert len(warned()) == 1


def test_name_of_two_plugins_is_an_error_at_once_when_strict(install, monkeypatch):
    install("first-zoo", registers_models("disputed"))
    install("second-zoo", registers_models("disputed"))
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"both first-zoo 1.0 and second-zoo 1.0"):
        registry.models()


def test_rawzoo_keeps_its_own_names(install):
    install("rude-zoo", registers_models("malvar"))
    assert registry.card("malvar").architecture == "rawzoo.inference.classical:Demosaic"
    assert "rude-zoo" in get_manager().failures[0].error


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("", []), ("one-zoo", ["one"]), ("Two_Zoo , one-zoo", ["one", "two"]), (" , ", [])],
)
def test_choice_of_plugins(install, monkeypatch, choice, expected):
    install("one-zoo", registers_models("one"))
    install("two-zoo", registers_models("two"))
    install("broken-zoo", "raise RuntimeError")
    monkeypatch.setenv("RAWZOO_PLUGINS", choice)
    assert names() == sorted([*expected, *BUILT_IN])
    assert get_manager().failures == []


def test_choice_of_a_plugin_that_is_not_there(install, monkeypatch):
    install("one-zoo", registers_models("one"))
    monkeypatch.setenv("RAWZOO_PLUGINS", "one-zoo,three-zoo")
    with pytest.raises(UsageError, match=r"RAWZOO_PLUGINS names three-zoo, .*installed: .*one-zoo"):
        registry.models()


def test_plugin_that_uses_the_zoo_while_it_loads(install):
    install("eager-zoo", "rawzoo.models()")
    assert names() == BUILT_IN
    assert "while plugins are being loaded" in get_manager().failures[0].error


def test_threads_load_the_plugins_once(install):
    install("slow-zoo", "import time\ntime.sleep(0.1)\n" + registers_models("slow"))
    found = []
    threads = [threading.Thread(target=lambda: found.append(get_manager())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_plugin_object_added_and_removed(install):
    install("good-zoo", registers_models("a"))
    names()
    get_manager().add(sys.modules["good_zoo"], "same again")
    assert "both good-zoo 1.0" in get_manager().failures[0].error
    get_manager().remove("plugin")
    assert names() == BUILT_IN


COMMAND = """
@rawzoo.hookimpl
def rawzoo_register_commands(app):
    @app.command("{0}")
    def command():
        print("{0} ran")
"""


@pytest.fixture
def app():
    app = typer.Typer()

    @app.command("develop")
    def develop():
        typer.echo("develop ran")

    @app.command("models")
    def models():
        pass

    return app


def run(app, *arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, arguments)


def test_commands(install, app):
    install("good-zoo", COMMAND.format("moo"))
    register_commands(app)
    register_commands(app)
    assert run(app, "moo").stdout == "moo ran\n"
    assert run(app, "develop").stdout == "develop ran\n"
    plugin = get_manager().plugins[-1]
    assert plugin.registered == {"command": ["moo"]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (COMMAND.format("develop"), "both rawzoo and bad-zoo 1.0 register the command 'develop'"),
        (COMMAND.format("moo"), "both a-zoo 1.0 and bad-zoo 1.0 register the command 'moo'"),
        (COMMAND.format("half") + "    raise RuntimeError('oops')", "RuntimeError: oops"),
        (COMMAND.format("half").replace("command():", "command(x: 'Undefined'):"), "NameError"),
    ],
)
def test_commands_that_fail(install, app, warned, source, message):
    install("a-zoo", COMMAND.format("moo"))
    install("bad-zoo", source + registers_models("of-the-bad"))
    register_commands(app)
    assert message in get_manager().failures[0].error
    assert names() == BUILT_IN
    assert run(app, "moo").stdout == "moo ran\n"
    assert run(app, "develop").stdout == "develop ran\n"
    assert run(app, "half").exit_code == 2
    assert len(warned()) == 1
