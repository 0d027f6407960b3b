"""The numbers that the API gives: the document's own example, every way to group, other projects, wrong questions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.builders import make_account, make_counts, make_key, make_project
from tracking.models import Project

pytestmark = pytest.mark.django_db

DAY = datetime(2023, 12, 1, tzinfo=UTC)
THOUSAND = {"created": 1000, "sent": 1000, "delivered": 950, "failed": 30, "bounced": 20}
THOUSAND |= {"timed": 950, "delivery_ms": 950 * 2300, "failed_permanent": 30, "bounced_hard": 20}
YEAR = {"start_date": "2023-12-01", "end_date": "2023-12-31"}
URLS = ["delivery-metrics", "providers", "performance"]


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def client(project: Project) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_key(project)}"})


def ask(client: Client, name: str = "delivery-metrics", **query: Any) -> Any:
    answer = client.get(f"/v1/analytics/{name}", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_950_of_1000_are_a_rate_of_095(client: Client, project: Project) -> None:
    make_counts(project, DAY, THOUSAND)
    found = ask(client, **YEAR, group_by="day")
    assert [entry["date"] for entry in found["metrics"]] == [f"2023-12-{day:02}" for day in range(1, 32)]
    first, second, *_ = found["metrics"]
    document = {"date": "2023-12-01", "sent": 1000, "delivered": 950, "failed": 30, "bounced": 20}
    assert first | document | {"delivery_rate": 0.95, "avg_delivery_time": 2.3} == first
    assert (first["bounce_rate"], first["failure_rate"]) == (0.02, 0.03)
    assert second["sent"] == 0 and second["delivery_rate"] is None and second["avg_delivery_time"] is None
    assert {name: found[name] for name in (*YEAR, "group_by", "timezone")} == YEAR | {
        "group_by": "day",
        "timezone": "UTC",
    }


def test_both_days_count_and_no_other_project(client: Client, project: Project) -> None:
    for day in (0, 1, 2, 3):
        make_counts(project, DAY + timedelta(days=day), {"created": 1, "sent": 1})
    make_counts(make_project(), DAY + timedelta(days=1), {"created": 5, "sent": 5})
    found = ask(client, start_date="2023-12-02", end_date="2023-12-03")
    assert [(entry["date"], entry["sent"]) for entry in found["metrics"]] == [("2023-12-02", 1), ("2023-12-03", 1)]


def test_days_are_those_of_the_time_zone(client: Client, project: Project) -> None:
    make_counts(project, datetime(2023, 12, 1, 18, 30, tzinfo=UTC), {"created": 1, "sent": 1})  # midnight in Kolkata
    make_counts(project, datetime(2023, 12, 1, 18, 15, tzinfo=UTC), {"created": 2, "sent": 2})
    found = ask(client, start_date="2023-12-01", end_date="2023-12-02", timezone="Asia/Kolkata")
    assert [entry["sent"] for entry in found["metrics"]] == [2, 1]
    hours = ask(client, start_date="2023-12-02", end_date="2023-12-02", timezone="Asia/Kolkata", group_by="hour")
    assert hours["metrics"][0]["date"] == "2023-12-02T00:00:00+05:30" and hours["metrics"][0]["sent"] == 1
    assert len(hours["metrics"]) == 24


@pytest.mark.parametrize(
    ("group", "dates"),
    [
        ("week", ["2023-11-27", "2023-12-04", "2023-12-11", "2023-12-18", "2023-12-25"]),
        ("month", ["2023-12-01"]),
    ],
)
def test_weeks_and_months_count_only_what_lies_in_the_period(
    client: Client, project: Project, group: str, dates: list[str]
) -> None:
    make_counts(project, DAY - timedelta(days=1), {"created": 7, "sent": 7})
    make_counts(project, DAY, {"created": 1, "sent": 1})
    found = ask(client, **YEAR, group_by=group)["metrics"]
    assert [entry["date"] for entry in found] == dates
    assert found[0]["sent"] == 1


def test_by_provider_channel_project_template_and_category(client: Client, project: Project) -> None:
    one, other = make_account(code="one"), make_account(code="other")
    make_counts(project, DAY, {"created": 3, "sent": 3, "delivered": 2}, account_id=one.pk)
    make_counts(project, DAY, {"created": 4, "sent": 4}, account_id=other.pk, channel="sms")
    make_counts(project, DAY, {"created": 1, "suppressed": 1})
    make_counts(project, DAY, {"created": 2, "sent": 2}, kind="template", label="welcome")
    make_counts(project, DAY, {"created": 5, "sent": 5}, kind="category", label="order")

    def grouped(group: str) -> list[tuple[Any, int]]:
        return [(entry[group], entry["sent"]) for entry in ask(client, **YEAR, group_by=group)["metrics"]]

    assert grouped("provider") == [("other", 4), ("one", 3), (None, 0)]
    assert grouped("channel") == [("email", 3), ("sms", 4)]
    assert grouped("project") == [(project.code, 7)]
    assert grouped("template") == [("welcome", 2)]
    assert grouped("category") == [("order", 5)]


def test_providers_are_compared_with_percentiles_and_classes(client: Client, project: Project) -> None:
    account = make_account(code="smtp")
    counts = {**THOUSAND, "latency_40": 940, "latency_60": 10, "attempts_started": 1100, "attempts_accepted": 990}
    counts |= {"attempts_failed": 110, "attempts_failed_timeout": 80, "attempts_failed_permanent": 30}
    make_counts(project, DAY, {**counts, "attempts_bounced_hard": 20}, account_id=account.pk)
    (found,) = ask(client, "providers", **YEAR)["providers"]
    assert found["provider"] == "smtp" and found["delivery_rate"] == 0.95 and found["attempt_success"] == 0.9
    assert found["failures"] == {"timeout": 80, "permanent": 30} and found["bounces"] == {"hard": 20}
    assert found["delivery_time_p50"] < found["delivery_time_p99"] == pytest.approx(60 * 5 ** (19.5 / 9), rel=0.01)
    assert found["health"] == pytest.approx(1 - 80 / 1100, abs=1e-6)


def test_performance_has_the_key_figures_and_those_before(client: Client, project: Project) -> None:
    account = make_account(code="smtp")
    make_counts(project, DAY, THOUSAND, account_id=account.pk)
    make_counts(project, DAY - timedelta(days=1), {"created": 10, "sent": 10, "delivered": 5}, account_id=account.pk)
    found = ask(client, "performance", start_date="2023-12-01", end_date="2023-12-01")
    assert (found["delivery_rate"], found["bounce_rate"], found["avg_delivery_time"]) == (0.95, 0.02, 2.3)
    assert found["matured"]["delivery_rate"] == 0.95 and found["before"]["delivery_rate"] == 0.5
    assert [each["provider"] for each in found["providers"]] == ["smtp"]


def test_without_dates_the_last_thirty_days(client: Client, project: Project) -> None:
    found = ask(client)
    assert len(found["metrics"]) == 30
    assert date.fromisoformat(found["end_date"]) - date.fromisoformat(found["start_date"]) == timedelta(days=29)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_leap_year_by_the_hour(client: Client, project: Project, zone: str) -> None:
    make_counts(project, datetime(2024, 2, 29, 12, tzinfo=UTC), {"created": 1, "sent": 1})
    found = ask(client, start_date="2024-01-01", end_date="2024-12-31", group_by="hour", timezone=zone)["metrics"]
    assert len(found) == 8784 and sum(entry["sent"] for entry in found) == 1


WRONG: list[tuple[str, dict[str, str]]] = [
    *(("start_date", {"start_date": text}) for text in ("", "yesterday", "2023-13-01", "2023-02-29", "20231201", "0")),
    *(("start_date", {"start_date": text}) for text in ("0001-01-01", "1970-01-01", "2023-12-01T00:00:00Z", "\0" * 10)),
    *(("end_date", {"end_date": text}) for text in ("9999-12-31", "1e9", "2023-W01-1", "１２３４-01-01")),
    ("end_date", {"start_date": "2023-12-02", "end_date": "2023-12-01"}),
    ("end_date", {"start_date": "2023-01-01", "end_date": "2024-01-02"}),
    *(("timezone", {"timezone": text}) for text in ("", "Mars/Base", "../../etc/passwd", "Europe", "\0", "x" * 300)),
    ("start_date", {"start_date": "2023-01-01"}),  # more than a year ago, and no end is named
    # west of the date line became east of it: there was no such day
    ("start_date", {"start_date": "2011-12-30", "end_date": "2011-12-30", "timezone": "Pacific/Apia"}),
    ("group", {"group": "day"}),
]


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(("parameter", "query"), WRONG)
def test_a_wrong_question_is_told_which_parameter(client: Client, name: str, parameter: str, query: Any) -> None:
    answer = client.get(f"/v1/analytics/{name}", query)
    assert answer.status_code == 400, answer.content
    problem = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert [error["parameter"] for error in problem["errors"]] == [parameter]


@pytest.mark.parametrize("group", ["", "minute", "account", "Day", "day\0"])
def test_a_wrong_group(client: Client, group: str) -> None:
    answer = client.get("/v1/analytics/delivery-metrics", {"group_by": group})
    assert answer.status_code == 400 and answer.json()["errors"][0]["parameter"] == "group_by"


@pytest.mark.parametrize("name", URLS)
def test_who_may_ask(project: Project, name: str) -> None:
    url = f"/v1/analytics/{name}"
    assert Client().get(url).status_code == 401
    sending = Client(headers={"Authorization": f"Bearer {make_key(project, ['send'])}"})
    assert sending.get(url).status_code == 403
    assert sending.post(url).status_code in (403, 405)


def test_it_is_one_statement_however_long_the_period(client: Client, project: Project) -> None:
    ask(client)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        ask(client, start_date="2023-01-01", end_date="2024-01-01")
    assert len(captured) <= 2, captured.captured_queries  # one of them looks for the key


def test_the_same_below_api_v1(client: Client, project: Project) -> None:
    make_counts(project, DAY, THOUSAND)
    here, there = (client.get(f"{root}/analytics/delivery-metrics", YEAR) for root in ("/v1", "/api/v1"))
    assert here.content == there.content
    assert client.get("/api/v1/notifications").status_code == 200
    missing = client.get("/api/v1/nothing")
    assert missing.status_code == 404 and missing["Content-Type"] == "application/problem+json"
