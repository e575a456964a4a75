"""What an operator meets: the metrics and log lines of the programs, and the alarms of the deployment. The tests beside
this hold docs/operations.md against it, so that nothing is raised that the page does not explain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sources import REPOSITORY, NothingFound, code

# The crates that the programs are made of.
CRATES = ["shared", "aws", "models", "redis-store", "scorer", "api", "standalone"]

METRIC = re.compile(r'"(cripto_[a-z0-9_]+)"')
LOGGED = re.compile(r"\btracing::(info|warn|error)!\(")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
TERRAFORM_ALARM = re.compile(r'^\s*alarm_name\s*=\s*"\$\{local\.name\}-([a-z0-9-]+)"', re.MULTILINE)
KUBERNETES_ALERT = re.compile(r"^\s*-?\s*alert:\s*(\w+)", re.MULTILINE)


def _texts(repository: Path) -> list[str]:
    return [text for crate in CRATES for text in code(repository / crate)]


def metrics(repository: Path = REPOSITORY) -> set[str]:
    """The names of all metrics."""
    return _found({name for text in _texts(repository) for name in METRIC.findall(text)}, "metric")


def log_lines(repository: Path = REPOSITORY) -> dict[str, set[str]]:
    """The messages of all log lines at info or above, each with its levels."""
    found: dict[str, set[str]] = {}
    for text in _texts(repository):
        for start in LOGGED.finditer(text):
            message = STRING.findall(_arguments(text, start.end()))[-1]
            found.setdefault(message, set()).add(start[1])
    return _found(found, "log line")


def alarms(repository: Path = REPOSITORY) -> set[str]:
    """The alarms that Terraform makes, without the installation's name, and the alerts in the manifests."""
    found = set()
    for path in sorted((repository / "terraform").glob("*.tf")):
        found |= set(TERRAFORM_ALARM.findall(path.read_text()))
    for path in sorted((repository / "k8s").rglob("*.yaml")):
        found |= set(KUBERNETES_ALERT.findall(path.read_text()))
    return _found(found, "alarm")


def explained(page: str, chapter: str) -> set[str]:
    """The names in the first column of the tables of a chapter."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    chapters = dict(zip(parts[1::2], parts[2::2]))
    rows = re.findall(r"^\| (`.+?`) \|", chapters[chapter], flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def _arguments(text: str, begin: int) -> str:
    """The text from `begin` to the parenthesis that closes it."""
    depth, place = 1, begin
    while depth:
        string = STRING.match(text, place)
        if string:
            place = string.end()
            continue
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        place += 1
    return text[begin:place]


def _found(found, what: str):
    if not found:
        raise NothingFound(f"the sources have no {what}: say how they write one in {__file__}")
    return found


@dataclass
class Outline:
    """What two pages in different languages have in common."""

    headings: list[int]
    code: list[str]
    rows: list[int]
    figures: list[str]
    links: list[str]


def outline(page: str) -> Outline:
    """The outline of a page: its headings' levels, its code without comments, its tables' rows and figures, its links' targets."""
    headings, code, rows, figures, prose = [], [], [], [], []
    fenced = False
    for line in page.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(re.sub(r"(^|\s+)# .*$", "", line).rstrip())
        else:
            prose.append(line)
            heading = re.match(r"(#+) ", line)
            if heading:
                headings.append(len(heading[1]))
                rows.append(0)
            elif line.startswith("|") and rows:
                rows[-1] += 1
                # 3,9 in Portuguese is 3.9 in English.
                figures += re.sub(r"(?<=\d),(?=\d)", ".", " ".join(re.findall(r"\d[\d.,]*", line))).split()
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose))
    # The two pages point at each other.
    links = [link.partition("#")[0] for link in links if not link.startswith("README")]
    return Outline(headings, [line for line in code if line], rows, figures, links)


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
