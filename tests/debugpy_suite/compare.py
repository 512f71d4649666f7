"""Compares two results of debugpy's tests: fails if one passes without p2pdbg and does not through it.

    compare.py WITHOUT.xml THROUGH.xml
"""

import sys
import xml.etree.ElementTree as ElementTree


def outcomes(path: str) -> dict[str, str]:
    """What became of each test, by its name."""
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return found


def main() -> int:
    without, through = (outcomes(path) for path in sys.argv[1:3])
    if not without or without.keys() != through.keys():
        print("the two runs are not of the same tests", file=sys.stderr)
        return 1
    worse = [name for name, outcome in without.items() if outcome == "passed" != through[name]]
    better = [name for name, outcome in through.items() if outcome == "passed" != without[name]]
    for name in worse:
        print(f"passes without p2pdbg alone: {name}: {through[name]}")
    for name in better:
        print(f"passes through p2pdbg alone: {name}: {without[name]} without")
    same = len(without) - len(worse) - len(better)
    print(f"{same} of {len(without)} tests have the same outcome, {len(worse)} are worse through p2pdbg")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
