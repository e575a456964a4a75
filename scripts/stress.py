"""Counts how often each test has failed in the rounds of `./test.sh --stress`.

    stress.py FOLDER

FOLDER has the JUnit files of all rounds, LOAD-ROUND.xml. Prints a table. The exit code is 1 if a test has failed.
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def main(folder):
    rounds, ran, failed = collections.Counter(), collections.Counter(), collections.Counter()
    slowest = collections.defaultdict(float)
    for file in sorted(folder.glob("*.xml")):
        load = file.stem.rsplit("-", 1)[0]
        rounds[load] += 1
        for case in ElementTree.parse(file).iter("testcase"):
            test = f"{case.get('classname')} {case.get('name')}"
            ran[load] += 1
            failed[load, test] += any(child.tag in ("failure", "error") for child in case)
            slowest[load, test] = max(slowest[load, test], float(case.get("time", 0)))
    for load in sorted(rounds, reverse=True):
        of_load = {test: count for (other, test), count in failed.items() if other == load and count}
        (_, slow), seconds = max((item for item in slowest.items() if item[0][0] == load), key=lambda item: item[1])
        print(f"{load}: {rounds[load]} rounds, {ran[load]} tests, {sum(of_load.values())} failed; "
              f"the slowest: {slow}, {seconds:.1f} s")
        for test, count in sorted(of_load.items(), key=lambda item: -item[1]):
            print(f"  failed in {count} of {rounds[load]}: {test}")
    return 1 if not ran or any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
