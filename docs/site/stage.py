"""Put together what the site is built from: the repository's own pages, and a reference page for each package.

    python docs/site/stage.py FOLDER    # then: mkdocs build --strict --config-file FOLDER/mkdocs.yml

The pages lie in FOLDER/pages as they lie in the repository, so a link from one to another works on a code host and in
the site alike. Ends with exit code 1 where a public name has no docstring.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import names

HERE = Path(__file__).parent
SHOWN = (
    *("*.md", "LICENSE", "docs/*.md", "examples/*.*", "notebooks/*.ipynb"),
    *("results/*/figures/*.png", "results/*/figures/*.svg"),
)


def stage(folder: Path) -> None:
    """Fill `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    for path in sorted(path for pattern in SHOWN for path in names.ROOT.glob(pattern)):
        copy = pages / path.relative_to(names.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    shutil.copyfile(HERE / "style.css", pages / "style.css")
    navigation = ["  - Reference:\n"]
    (pages / "reference").mkdir()
    for package, modules in names.packages().items():
        (pages / "reference" / f"{package}.md").write_text("\n".join(_reference(package, modules)))
        navigation.append(f"      - {package}: reference/{package}.md\n")
    (folder / "mkdocs.yml").write_text((HERE / "mkdocs.yml").read_text() + "".join(navigation))


def _reference(package: str, modules: list[str]) -> Iterator[str]:
    """The Markdown of a package's page: its docstring, the names it exports, and its modules."""
    yield f"# `{package}`\n"
    members = ", ".join(names.own(package))
    yield f"::: {package}\n    options:\n      members: [{members}]\n      show_root_heading: false\n"
    exported = [_link(name, *home) for name, home in sorted(names.exports(package).items())]
    if exported:
        yield f"Names to import from `{package}`: {', '.join(exported)}.\n"
    yield from (f"::: {module}\n" for module in modules)


def _link(name: str, module: str, own_name: str) -> str:
    shown = names.is_documented(module, own_name)
    return f"[`{name}`][{module}.{own_name}]" if shown else f"`{name}`"


def main() -> int:
    """Stage into the folder that the command line names."""
    stage(Path(sys.argv[1]))
    undocumented = names.undocumented()
    for name in undocumented:
        print(f"{name} is public and has no docstring", file=sys.stderr)
    return 1 if undocumented else 0


if __name__ == "__main__":
    sys.exit(main())
