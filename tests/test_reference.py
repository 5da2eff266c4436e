"""Every public name has a docstring, and the sources of the site are whole; `make docs` builds it."""

import subprocess
import sys

import pytest

from docs.site import names
from tests.support.documents import PAGES, ROOT


def test_every_public_name_has_a_docstring():
    assert names.undocumented() == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package of its own, whose modules are written by `write`."""
    monkeypatch.setattr(names, "ROOT", tmp_path)
    monkeypatch.setattr(names, "PACKAGES", ("shop",))

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / "shop").mkdir(exist_ok=True)
            (tmp_path / "shop" / f"{name}.py").write_text(text)

    return write


def test_a_public_name_without_a_docstring_is_found(project):
    project(
        __init__='"""A shop."""\nfrom shop.till import RATE, Till, pay as settle\n',
        till='RATE = 2\nclass Till:\n    "Open."\n    def ring(self): ...\n    def _count(self): ...\ndef pay(): ...\n',
        _drawer="def hidden(): ...\n",
    )
    assert names.undocumented() == ["shop.till", "shop.till.Till.ring", "shop.till.pay", "shop.till.RATE"]
    assert names.packages() == {"shop": ["shop.till"]}
    assert names.exports("shop")["settle"] == ("shop.till", "pay")


def test_a_name_that_is_imported_when_it_is_needed_is_found(project):
    lazy = "def __getattr__(name):\n    from shop.till import Till, Drawer\n"
    project(__init__=f'"""A shop."""\n__all__ = ["Till"]\n{lazy}', till="class Till: ...\nclass Drawer: ...\n")
    assert names.exports("shop") == {"Till": ("shop.till", "Till")}


def test_a_name_is_followed_through_packages_to_where_it_is_defined(project, tmp_path):
    (tmp_path / "shop/desk").mkdir(parents=True)
    (tmp_path / "shop/desk/__init__.py").write_text('"""A desk."""\nfrom shop.desk.till import Till\n')
    (tmp_path / "shop/desk/till.py").write_text('"""A till."""\nclass Till: ...\n')
    project(__init__='"""A shop."""\nfrom shop import desk\nfrom shop.desk import Till\n')
    assert names.exports("shop") == {"Till": ("shop.desk.till", "Till")}
    assert names.packages() == {"shop": [], "shop.desk": ["shop.desk.till"]}
    assert names.undocumented() == ["shop.desk.till.Till"]


def test_an_override_has_the_docstring_of_what_it_overrides(project):
    base = '"""Tills."""\nclass Till:\n    "Any."\n    def ring(self):\n        "Ring."\n'
    till = '"""A till."""\nfrom shop.base import Till\nclass Small(Till):\n    "One."\n    def ring(self): ...\n'
    project(__init__='"""A shop."""', base=base, till=till)
    assert names.undocumented() == []


def test_the_site_has_every_page_and_every_package(tmp_path):
    subprocess.run([sys.executable, ROOT / "docs/site/stage.py", tmp_path / "staged"], check=True)
    navigation = (tmp_path / "staged/mkdocs.yml").read_text()
    for page in (*PAGES, *(f"reference/{package}.md" for package in names.packages())):
        assert f": {page}\n" in navigation
        assert (tmp_path / "staged/pages" / page).is_file()
