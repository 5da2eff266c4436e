"""Sum up runs of the tests from the JUnit files in a folder: `python -m tests.support.tally build/tests`.

The last line has the numbers of all runs. Before it stands each test that every run has skipped, with the reason. A
test that every run has skipped for want of a package is an error. `pytest.importorskip` words this reason.
"""

import sys
from collections import Counter
from collections.abc import Set
from pathlib import Path
from xml.etree import ElementTree

NOT_INSTALLED = "could not import"


def outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"


def name(case: ElementTree.Element) -> str:
    """A test by its module, class and name; a module that is skipped as a whole by its own."""
    return f"{case.get('classname')}.{case.get('name')}".removeprefix(".")


def tally(files: list[Path]) -> tuple[Counter[str], dict[str, str]]:
    """How many tests passed, failed and were skipped, and the reason of each that ran nowhere."""
    cases = [case for file in files for case in ElementTree.parse(file).iter("testcase")]
    ran = {name(case) for case in cases if outcome(case) != "skipped"}
    skipped = [(name(case), reason(case)) for case in cases if outcome(case) == "skipped"]
    lacking = {test: why for test, why in skipped if NOT_INSTALLED in why}
    # Where a test is skipped for another reason, such as a missing browser, its packages are installed.
    others = {test: why for test, why in skipped if NOT_INSTALLED not in why}
    nowhere = without(lacking, ran | others.keys()) | without(others, ran)
    return Counter(map(outcome, cases)), nowhere


def reason(case: ElementTree.Element) -> str:
    return " ".join(case.find("skipped").itertext())


def without(skipped: dict[str, str], reached: Set[str]) -> dict[str, str]:
    """The skipped tests that are not among those reached. A module is, if one of its tests is."""
    return {test: why for test, why in skipped.items() if not any(f"{one}.".startswith(f"{test}.") for one in reached)}


def main(folder: str) -> int:
    """Print what the runs came to; return 1 where a test failed, or needs a package that is installed nowhere."""
    counts, nowhere = tally(sorted(Path(folder).glob("*.xml")))
    for test, reason in nowhere.items():
        print(f"skipped everywhere: {test}: {reason}")
    print(", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped")))
    return int(counts["failed"] > 0 or any(NOT_INSTALLED in reason for reason in nowhere.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
