"""What is wrong with delivery, in words, with its remedy and with who is to blame. Pure; called by the overview.

Four troubles are looked for. Of each dimension (provider, channel, project, category, class of the error) the value is
named that the trouble would mostly go away with: it has at least half of the bad messages, and clearly more of them
than of all messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tracking.figures import Figures

ENOUGH = 50  # messages: fewer say nothing about a rate
HALF = 0.5  # of the bad messages
MORE_THAN_ITS_SHARE = 1.25  # times its share of all messages

Named = Mapping[str, Figures]  # a dimension's values by their names: code, channel, category


@dataclass(frozen=True, slots=True)
class Trouble:
    """`bad` out of `all_of` is too much from `limit` on. `status`: the messages to look at."""

    key: str
    title: str
    limit: float
    bad: Callable[[Figures], int]
    all_of: Callable[[Figures], int]
    classes: Callable[[Figures], Mapping[str, int]]
    words: str  # {share}
    status: str
    remedy: str
    remedies: Mapping[str, str] = field(default_factory=dict)  # by the leading class
    look: str = "Look at the messages"  # what the link to them says


TROUBLES = (
    Trouble(
        "bounces",
        "High bounce rate",
        0.05,
        lambda figures: figures.bounced,
        lambda figures: figures.sent,
        lambda figures: figures.bounced_by,
        "{share} of the messages sent have bounced; from 5 % on, mailbox providers begin to refuse a sender.",
        "bounced",
        "Look at the bounced messages and at where their addresses come from.",
        {
            "hard": "The addresses do not exist: clean the list that they come from, and confirm new ones before use.",
            "soft": "Mailboxes are full or servers away: send these again later, and drop the addresses that stay so.",
            "block": "The receiving side refuses the sender: check SPF, DKIM, DMARC and block lists; slow down.",
            "admin": "The receiving side's administration refuses: talk to it, and check the sender's domain.",
        },
    ),
    Trouble(
        "failures",
        "Low delivery rate",
        0.10,
        lambda figures: figures.failed + figures.bounced,
        lambda figures: figures.finalised,
        lambda figures: figures.failed_by,
        "{share} of the messages that have ended were not delivered.",
        "failed,bounced",
        "Look at the failed messages and their reasons.",
        {
            "permanent": "The provider refuses for good: check the account's credentials, its sender, and the content.",
            "invalid_recipient": "Addresses are wrong: check them where they are entered, before they are sent.",
            "blocked": "The provider or the recipients block the sender: check its reputation and its consent.",
            "attempts_exhausted": "All attempts failed: see the provider's state, then retry these messages in bulk.",
            "expired": "They expired before they could be sent: look at the backlog, or give them more time.",
            "rate_limit": "The provider limits the rate: lower the account's rate limit, or add a second account.",
            "timeout": "The provider cannot be reached in time: check its status page, and route to another one.",
        },
    ),
    Trouble(
        "delays",
        "Delayed delivery",
        0.10,
        lambda figures: figures.late + figures.overdue,
        lambda figures: figures.sent,
        lambda figures: {},
        "{share} of the messages sent came late, or are still on their way after the time that is usual.",
        "pending,processing,sent",
        "See whether the backlog grows (then add workers or raise the account's rate limit) or the provider itself is"
        " slow (then route to another one until it has recovered).",
        look="Look at those that are still on their way",
    ),
    Trouble(
        "receipts",
        "Receipts are missing",
        0.25,
        lambda figures: max(0, figures.attempts_accepted - figures.attempts_receipted),
        lambda figures: figures.attempts_accepted,
        lambda figures: {},
        "For {share} of what the providers took, no receipt has come that says what became of it.",
        "sent",
        "Check at the provider that receipts are sent to the account's hook address, and here that no request of its"
        " is unreadable or unmatched.",
    ),
)


@dataclass(frozen=True, slots=True)
class Culprit:
    dimension: str
    name: str
    share: float  # of the bad messages
    volume: float  # of all messages

    @property
    def says_more(self) -> bool:
        return self.volume < 0.999


@dataclass(frozen=True, slots=True)
class Finding:
    trouble: Trouble
    share: float
    bad: int
    culprits: tuple[Culprit, ...]
    leading: str  # the class that most of them have, or ""

    @property
    def remedy(self) -> str:
        return self.trouble.remedies.get(self.leading, self.trouble.remedy)


def troubles(total: Figures) -> list[Trouble]:
    """Those that there are. A low delivery rate that bounces alone explain is said once."""
    found = [each for each in TROUBLES if _struck(each, total)]
    told = any(each.key == "bounces" for each in found) and total.failed < 0.10 * total.finalised
    return [each for each in found if not (told and each.key == "failures")]


def _struck(trouble: Trouble, total: Figures) -> bool:
    return trouble.all_of(total) >= ENOUGH and trouble.bad(total) / trouble.all_of(total) >= trouble.limit


def finding(trouble: Trouble, total: Figures, dimensions: Mapping[str, Named]) -> Finding:
    """`dimensions`: what it is called → its values. Dimensions with one value alone blame nobody."""
    found = [
        culprit
        for dimension, values in dimensions.items()
        if len(values) > 1 and (culprit := _culprit(trouble, total, dimension, values))
    ]
    bad = trouble.bad(total)
    return Finding(trouble, bad / trouble.all_of(total), bad, tuple(found), _leading(trouble.classes(total)))


def _culprit(trouble: Trouble, total: Figures, dimension: str, values: Named) -> Culprit | None:
    bad, everything = trouble.bad(total), trouble.all_of(total)
    name, worst = max(values.items(), key=lambda item: trouble.bad(item[1]))
    share, volume = trouble.bad(worst) / bad, trouble.all_of(worst) / everything
    if share < HALF or share < volume * MORE_THAN_ITS_SHARE:
        return None
    return Culprit(dimension, name, share, volume)


def _leading(classes: Mapping[str, int]) -> str:
    name, count = max(classes.items(), key=lambda item: item[1], default=("", 0))
    return name if count and count >= HALF * sum(classes.values()) else ""
