"""The documents name what there is: settings, jobs, commands, addresses; and their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tracking import export_columns, jobs, loops, smsbat_words
from tracking.statuses import Status

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
APPS = ("config", "dashboard", "tracking", "providers")
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The names in the first cells of the table below a heading, each with the other cells of its row."""
    text = (DOCS / page).read_text().split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[2:]:
        first, *rest = (cell.strip() for cell in line.strip("|").split(" | "))
        for name in re.findall(r"`([^`]+)`", first):
            found[name] = rest
    return found


# --- operations.md


def sources() -> Iterator[Path]:
    return (path for app in APPS for path in (ROOT / app).rglob("*.py"))


def read_settings() -> set[str]:
    """What the program reads from the environment, wherever it does."""
    direct = r'(?:\benv\.\w+|_kept_secret|environ(?:ment)?\.get|os\.environ|common\.get)[(\[]\s*"([A-Z][A-Z_]+)"'
    found = {name for path in sources() for name in re.findall(direct, path.read_text())}
    return found - {"PATH"}


def test_every_setting_has_its_row():
    assert set(rows("operations.md", "variable")) == read_settings()


def test_defaults_are_those_of_the_settings():
    text = (ROOT / "config/settings.py").read_text()
    numbers = dict(re.findall(r'env\.(?:int|float)\(\s*"(\w+)", default=([\d_.]+)\)', text))
    written = rows("operations.md", "variable")
    assert len(numbers) > 20
    for name, default in numbers.items():
        assert float(written[name][0].replace(",", "")) == float(default), name


def test_every_job_and_loop_has_its_row():
    text = (DOCS / "operations.md").read_text()
    assert set(rows("operations.md", "loop or job")) == {job.task for job in jobs.JOBS}
    for name, _ in loops.wanted():
        assert f"| {name} loop |" in text


@pytest.mark.parametrize("job", jobs.JOBS, ids=lambda job: job.task)
def test_the_row_of_a_job_says_how_often_it_runs(job):
    often = {1: "every minute", 30: "every 30 minutes", 60: "hourly", 1440: "at 03:00 UTC"}[job.minutes]
    assert f"| `{job.task}`, {often} |" in (DOCS / "operations.md").read_text()


def test_every_command_has_its_row():
    files = (path for app in APPS for path in (ROOT / app / "management/commands").glob("[!_]*.py"))
    written = {name.split()[0] for name in rows("operations.md", "command")}
    assert written == {path.stem for path in files}


# --- api.md


def addresses(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        path = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from addresses(each, path)
        elif "<path:rest>" not in path:
            yield f"/{path}", each


def plain(path: str) -> str:
    return re.sub(r"<[^>]+>|\{[^}]+\}", "{}", path)


def offered() -> dict[str, dict[str, str]]:
    """Every address but the console's → its methods and the scope that each needs."""
    found = {}
    for path, pattern in addresses(get_resolver()):
        again = path.startswith("/api/v1/") and "socialplus" not in pattern.lookup_str  # /v1 once more
        if again or path == "/" or path.startswith("/admin/"):
            continue
        view = getattr(pattern.callback, "view_class", None)
        scopes = getattr(view, "scopes", {}).items()
        found[plain(path)] = {method: str(scope) for method, scope in scopes if hasattr(view, method.lower())}
    return found


def test_every_address_has_its_row_with_methods_and_scopes():
    written = {}
    for heading in ("native address", "other address"):
        for path, cells in rows("api.md", heading).items():
            written[plain(path)] = dict(re.findall(r"\b([A-Z]+) (send|read|receipts|manage)\b", cells[0]))
    known = offered()
    assert set(written) == set(known)
    assert {path: scopes for path, scopes in written.items() if known[path]} == {
        path: scopes for path, scopes in known.items() if scopes
    }


# --- statuses.md


def test_the_words_of_smsbat_are_those_of_its_interface():
    text = (DOCS / "statuses.md").read_text().split("\n| ours |", 1)[1].split("\n\n", 1)[0]
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()[2:]]
    told = set()
    for ours, _chatapi, _kmsg, said, *_ in lines:
        status, _, reasons = ours.partition(": ")
        told.add(status)
        assert {smsbat_words.word(status, reason) for reason in reasons.split(", ")} == {said}, ours
    assert told == set(Status)


# --- exports.md


def test_every_column_of_exports_has_its_row():
    written = {name: [cell.strip(" |") for cell in cells] for name, cells in rows("exports.md", "column").items()}
    assert written == {name: [each.what, "yes" if each.usual else ""] for name, each in export_columns.COLUMNS.items()}


# --- links


def anchors(page: Path) -> set[str]:
    """As code forges make them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    reached, open_ = set(), [ROOT / "README.md"]
    while open_:
        page = open_.pop()
        if page not in reached:
            reached.add(page)
            open_ += [target for target, _ in links(page) if target.suffix == ".md" and target.exists()]
    assert set(DOCS.glob("*.md")) <= reached


def test_pages_that_the_code_names_are_there():
    texts = [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "templates").rglob("*.html"), *PAGES]
    named = {name for path in texts for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())}
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
