"""The charts of the overview, with a legend whose entries lead to the messages they stand for. Pure; called by
overview."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboard import charts, words
from dashboard.charts import DASHES, MARKS, PALETTE, PATTERNS, STATUS_PATTERNS, Figure, Mark, Trace
from dashboard.overview_form import Asked
from dashboard.overview_tiles import percent
from dashboard.swatches import Swatch
from tracking.figures import Figures
from tracking.metrics import Key, Series

POINTS = 32  # of a line, at most
PROVIDERS = 8  # lines in one chart, those of most messages; colours come again after as many

# What messages are by now → (the word, its sign, its colour, the statuses that the list asks for). In stacking order.
STATES: dict[str, tuple[str, str, str]] = {
    "delivered": ("✓", "delivered", "delivered"),
    "read": ("✓✓", "read", "read"),
    "under way": ("↗", "sent", "pending,processing,sent"),
    "unknown": ("?", "unknown", "unknown"),
    "cancelled": ("⊘", "cancelled", "cancelled"),
    "bounced": ("↩", "bounced", "bounced"),
    "failed": ("✕", "failed", "failed"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend."""

    name: str
    value: str
    url: str
    swatch: Swatch | None = None
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    key: str
    title: str
    hint: str
    figure: Figure
    legend: Sequence[Entry] = ()
    wide: bool = False

    @property
    def empty(self) -> bool:
        return not self.figure["data"]


def states(figures: Figures) -> Counter[str]:
    """How many messages are in which of STATES: each in exactly one."""
    aborted = figures.failed_by.get("cancelled", 0)  # while a retry waited
    never = figures.suppressed + figures.expired + figures.rejected
    return Counter(
        {
            "delivered": figures.delivered - figures.read,
            "read": figures.read,
            "under way": figures.in_flight + figures.pending,
            "unknown": figures.unknown,
            "cancelled": figures.cancelled + aborted,
            "bounced": figures.bounced,
            "failed": figures.failed - aborted + never,
        }
    )


def _colour(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _again(place: int) -> int:
    """Where a colour comes again, its other sign is another one."""
    return place + place // len(PALETTE)


def _pattern(place: int) -> str:
    return PATTERNS[_again(place) % len(PATTERNS)]


def line_swatch(place: int) -> Swatch:
    return Swatch(_fill(place), dash=DASHES[place % len(DASHES)], mark=MARKS[_again(place) % len(MARKS)])


def of_time(asked: Asked, series: Mapping[Key, Series], marks: Sequence[Mark]) -> list[Chart]:
    begins = [begin.astimezone(asked.zone) for begin, _ in next(iter(series.values()), [])]
    every = together(len(begins))
    volume, rates = _volume(asked, series, len(begins)), _rates(asked, series, every)
    link, until = asked.messages(), asked.scope.until
    drawn = charts.stacked(begins, until, [trace for trace, _ in volume], link=link)
    lines = charts.lines(begins[::every], until, [trace for trace, _ in rates], link=link)
    return [
        Chart(
            "volume",
            "Messages by status",
            "when they were handed in, and what became of them",
            charts.with_marks(drawn, marks, asked.zone),
            [entry for _, entry in volume],
            wide=True,
        ),
        Chart(
            "delivery",
            "Delivery rate by provider",
            "of the messages of each step, to date",
            charts.with_marks(lines, marks, asked.zone),
            [entry for _, entry in rates],
        ),
    ]


def _volume(asked: Asked, series: Mapping[Key, Series], length: int) -> list[tuple[Trace, Entry]]:
    steps = [sum((states(row[place][1]) for row in series.values()), Counter[str]()) for place in range(length)]
    found = []
    for name, (sign, tone, status) in STATES.items():
        values = [step[name] for step in steps]
        if total := sum(values):
            trace = Trace(name, values, f"--s-{tone}", {"status": status})
            swatch = Swatch(f"fill-{tone}", STATUS_PATTERNS[tone])
            entry = Entry(name, f"{total:,}", asked.messages(status=status), swatch, sign)
            found.append((trace, entry))
    return found


def _rates(asked: Asked, series: Mapping[Key, Series], every: int) -> list[tuple[Trace, Entry]]:
    found = []
    volumes = {key: sum(figures.sent for _, figures in rows) for key, rows in series.items() if key}
    largest = sorted(volumes, key=lambda key: volumes[key], reverse=True)[:PROVIDERS]
    for key, code, place in ranked(asked, largest):
        rows = [figures for _, figures in series[key]]
        delivered, sent = sum(each.delivered for each in rows), sum(each.sent for each in rows)
        query = {"account": str(key)} if key else {}
        line = line_swatch(place)
        trace = Trace(code, delivery_rates(rows, every), _colour(place), query, dash=line.dash, mark=line.mark)
        rate = percent(delivered / sent if sent else None)
        found.append((trace, Entry(code, rate, asked.messages(**query), line)))
    return found


def together(steps: int) -> int:
    """How many steps make one point of a line: a rate of very few messages jumps about."""
    return max(1, -(-steps // POINTS))


def delivery_rates(rows: Sequence[Figures], every: int) -> list[float | None]:
    found: list[float | None] = []
    for place in range(0, len(rows), every):
        some = rows[place : place + every]
        sent = sum(each.sent for each in some)
        found.append(sum(each.delivered for each in some) / sent if sent else None)
    return found


def _fill(place: int) -> str:
    return f"fill-c{place % len(PALETTE) + 1}"


def swatch(place: int) -> Swatch:
    """Of a provider's bars, and of the provider itself."""
    return Swatch(_fill(place), _pattern(place))


def ranked(asked: Asked, keys: Iterable[Key]) -> list[tuple[Key, str, int]]:
    """Providers by their codes, each with its place among all that there are, by which it has its colour everywhere.
    Messages without a provider are left out."""
    known = asked.codes["account"]
    places = {key: place for place, key in enumerate(sorted(known))}
    found = [(key, known.get(_number(key), "?"), places.get(_number(key), len(places))) for key in keys if key]
    return sorted(found, key=lambda item: item[1])


def _number(key: Key) -> int:
    return key if isinstance(key, int) else 0


def _of_classes(asked: Asked, accounts: Mapping[Key, Figures]) -> list[Chart]:
    bounced = {key: figures.bounced_by for key, figures in accounts.items()}
    failed = {key: figures.attempts_failed_by for key, figures in accounts.items()}
    return [
        _by_class(asked, "bounces", "Bounces by class", "messages, by provider", bounced, "reason", status="bounced"),
        _by_class(asked, "failures", "Failures by class", "attempts that failed, by provider", failed, "failure"),
    ]


def _by_class(
    asked: Asked,
    key: str,
    title: str,
    hint: str,
    counts: Mapping[Key, Mapping[str, int]],
    parameter: str,
    **query: str,
) -> Chart:
    """`parameter`: by which the message list takes the class."""
    sums: Counter[str] = Counter()
    for each in counts.values():
        sums.update(each)
    classes = [name for name, _ in sums.most_common()]
    traces = [
        Trace(
            code,
            [counts[account].get(name, 0) for name in classes],
            _colour(place),
            queries=[{**query, parameter: name, "account": str(account)} for name in classes],
            pattern=_pattern(place),
        )
        for account, code, place in ranked(asked, counts)
        if counts[account]
    ]
    legend = [
        Entry(words.spaced(name), f"{sums[name]:,}", asked.messages(**query, **{parameter: name})) for name in classes
    ]
    legend += [
        Entry(code, "", asked.messages(**query, account=str(account)), swatch(place))
        for account, code, place in ranked(asked, counts)
        if counts[account]
    ]
    unit: charts.Unit = "messages" if parameter == "reason" else "attempts"
    figure = charts.bars(
        [words.spaced(name) for name in classes], traces if classes else [], link=asked.messages(), unit=unit
    )
    return Chart(key, title, hint, figure, legend)


def _latency(asked: Asked, accounts: Mapping[Key, Figures]) -> Chart:
    rows = [(key, code, accounts[key]) for key, code, _ in ranked(asked, accounts) if accounts[key].timed]
    queries = [{"account": str(key), "status": "delivered,read"} for key, _, _ in rows]
    percentiles = ((0.5, "p50", ""), (0.95, "p95", "/"), (0.99, "p99", "x"))
    traces = [
        Trace(
            name, [each.percentile(share) for _, _, each in rows], f"--p-{name[1:]}", queries=queries, pattern=pattern
        )
        for share, name, pattern in percentiles
    ]
    figure = charts.bars(
        [code for _, code, _ in rows], traces if rows else [], link=asked.messages(), unit="s", beside=True
    )
    legend = [Entry(name, "", "", Swatch(f"fill-{name}", pattern)) for _, name, pattern in percentiles]
    return Chart("latency", "Delivery time by provider", "half, 95 % and 99 % came within", figure, legend)


def _heat(asked: Asked, series: Series) -> Chart:
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for begin, figures in series:
        local = begin.astimezone(asked.zone)
        cell = sums[local.weekday(), local.hour]
        cell[0] += figures.created
        cell[1] += figures.delivered
        cell[2] += figures.sent
    cells = {place: (made, good / sent if sent else None) for place, (made, good, sent) in sums.items()}
    figure = charts.heat(cells)
    if not any(made for made, _ in cells.values()):
        figure["data"] = []
    return Chart(
        "heat",
        "When messages come",
        "weekday and hour, over at least 7 and at most 90 days; stronger is more; no links",
        figure,
    )


def charts_of(
    asked: Asked,
    series: Mapping[Key, Series],
    accounts: Mapping[Key, Figures],
    week: Series,
    marks: Sequence[Mark],
) -> list[Chart]:
    return [
        *of_time(asked, series, marks),
        _latency(asked, accounts),
        *_of_classes(asked, accounts),
        _heat(asked, week),
    ]
