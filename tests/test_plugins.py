"""Named parts from this package, from a call and from other installed packages."""

import sys

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry, installed

GROUP = "lad_rllib.shapes_of_a_test"


class Shape:
    pass


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a package with entry points and one module on a path of its own, as an installer does."""

    def installed(package, points, source):
        folder = tmp_path / package
        metadata = folder / f"{package}-1.2.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {package}:{attribute}" for name, attribute in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
        (folder / f"{package}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)

    yield installed
    for name in [name for name in sys.modules if name.startswith("shapes_")]:
        del sys.modules[name]


def test_parts_of_this_package_come_first_then_registered_ones_then_those_of_other_packages(install):
    shapes = Registry("shape", GROUP, own={"test": f"{__name__}:Shape"})
    install("shapes_round", {"disc": "Disc"}, "class Disc: ...")
    shapes.register("square")(Shape)
    assert list(shapes) == ["test", "square", "disc"] and len(shapes) == 3
    assert "disc" in shapes and "circle" not in shapes and None not in shapes
    assert shapes["disc"].__module__ == "shapes_round" and shapes["square"] is Shape


def test_names_are_listed_without_importing_anything(install):
    install("shapes_loud", {"loud": "Loud"}, "raise SystemError('imported')")
    assert list(Registry("shape", GROUP, own={"absent": "no_such_module:Shape"})) == ["absent", "loud"]
    assert installed(GROUP) == ("loud",)


@pytest.mark.parametrize(
    ("points", "source", "told"),
    [
        ({"disc": "Disc"}, "import no_such_module", "cannot be imported (ModuleNotFoundError: No module named"),
        ({"disc": "Disk"}, "class Disc: ...", "cannot be imported (AttributeError: module"),
        ({"disc": "Disc"}, "raise ValueError('first line\\nsecond')", "(ValueError: first line second)"),
        ({"disc": "Disc"}, "class Disc: ...", "must be a subclass of Shape, got <class 'shapes_round.Disc'>"),
    ],
)
def test_a_part_that_cannot_be_used_is_refused_with_its_package(install, points, source, told):
    shapes = Registry("shape", GROUP, base=Shape)
    shapes.register("square")(Shape)
    install("shapes_round", points, source)
    with pytest.raises(ConfigurationError) as error:
        shapes["disc"]
    assert str(error.value).startswith("shape 'disc' of package shapes_round 1.2 ") and told in str(error.value)
    assert "\n" not in str(error.value)
    assert shapes["square"] is Shape  # the others can still be used


def test_two_packages_with_one_name_are_named_only_when_that_name_is_asked_for(install):
    shapes = Registry("shape", GROUP)
    shapes.register("square")(Shape)
    install("shapes_round", {"disc": "Disc", "ball": "Disc"}, "class Disc: ...")
    install("shapes_flat", {"disc": "Disc", "square": "Disc"}, "class Disc: ...")
    assert shapes["ball"].__module__ == "shapes_round"
    with pytest.raises(ConfigurationError, match="'disc' comes from package shapes_.* 1.2 and package shapes_.* 1.2"):
        shapes["disc"]
    with pytest.raises(ConfigurationError, match="'square' comes from tests.test_plugins and package shapes_flat 1.2"):
        shapes["square"]


def test_a_class_that_is_defined_again_replaces_its_former_self():
    shapes, name = Registry("shape", GROUP, base=Shape), {"__module__": "notebook", "__qualname__": "Cell"}
    first, again = (type("Cell", (Shape,), dict(name)) for _ in range(2))
    shapes.register("cell")(first)
    shapes.register("cell")(again)
    assert shapes["cell"] is again and list(shapes) == ["cell"]


def test_a_name_is_registered_once():
    shapes = Registry("shape", GROUP, own={"test": f"{__name__}:Shape"}, base=Shape)
    shapes.register("square")(Shape)
    shapes.register("square")(Shape)  # the same again, as when a module is reloaded by hand
    for name in ("square", "test"):
        with pytest.raises(ConfigurationError, match=f"shape '{name}' exists already; choose another name"):
            shapes.register(name)(type("Other", (Shape,), {}))
    with pytest.raises(ConfigurationError, match="shape 'number' must be a subclass of Shape, got 3"):
        shapes.register("number")(3)


@pytest.mark.parametrize("name", ["circle", 3, None, "", "a" * 100])
def test_an_unknown_name_is_refused_with_those_that_exist(name):
    shapes = Registry("shape", GROUP, own={"test": f"{__name__}:Shape"})
    with pytest.raises(ConfigurationError, match="^unknown shape .*; choose from test$"):
        shapes[name]
