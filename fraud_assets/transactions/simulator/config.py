"""What a user may choose about the simulated world, and the schedule that ships with it.

Only declarations and their validation belong here: how a choice turns into rows is said in
`population`, `behaviour`, `scenarios` and `generator`. Every day is an index that counts from
zero, the first simulated day; an `end_day` is the first day that no longer belongs.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FALSE_REPORT: Final = "false_report"
"""Scenario of a legitimate transaction that was wrongly reported as a fraud (label noise)."""

CHANGE_DAY: Final = 29
"""Default day of the sudden change: the ninth live day (index 21 + 8) after 21 days of history."""

DayIndex = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
SmallShare = Annotated[float, Field(ge=0.0, le=0.2)]
ScenarioKind = Literal["account_takeover", "mule_payees", "compromised_merchant", "card_testing"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KindMix(_Model):
    """Shares of the five PaySim transaction kinds; they sum to one."""

    cash_in: Share = Field(default=0.20, description="Share of CASH_IN, cash paid in at an agent.")
    cash_out: Share = Field(default=0.29, description="Share of CASH_OUT, cash taken at an agent.")
    debit: Share = Field(default=0.03, description="Share of DEBIT, money sent to a bank.")
    payment: Share = Field(default=0.38, description="Share of PAYMENT, a purchase at a merchant.")
    transfer: Share = Field(default=0.10, description="Share of TRANSFER, to another account.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.cash_in + self.cash_out + self.debit + self.payment + self.transfer
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the five shares of a kind mix must sum to 1, these sum to {total:g}")
        return self


class FraudScenario(_Model):
    """One way of committing fraud, and when and how much of it there is.

    Frauds come in episodes: one compromised customer, mule payee, merchant or card, active for
    some days. At the first day of a scenario its episodes are already in full swing, so that
    `sudden` means sudden.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="What the `scenario` column says; unique among the scenarios."
    )
    kind: ScenarioKind = Field(description="The behaviour of the fraudster; see `scenarios`.")
    start_day: DayIndex = Field(default=0, description="First day with frauds of this scenario.")
    end_day: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="First day without frauds again; none: it never ends."
    )
    share: SmallShare = Field(
        description="Frauds per day at full strength, as a share of transactions_per_day."
    )
    frauds_per_episode_day: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=4.0,
        description="Mean number of frauds in one day of one episode; less in worlds so small "
        "that fewer than three episodes would be active.",
    )
    episode_days: Annotated[int, Field(ge=1, le=60)] = Field(
        default=3, description="Mean length of an episode; lengths vary by half around it."
    )
    amount_factor: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        default=1.0, description="Median multiple of the victim's ordinary amount."
    )
    disguised_share: Share = Field(
        default=0.1,
        description="Share of the frauds that look like ordinary transactions of the victim "
        "(payee, amount and hour), so that no model can find them but by luck.",
    )
    growth: Literal["sudden", "gradual", "recurring"] = Field(
        default="sudden",
        description="Full strength at once; a linear ramp over ramp_days; or on and off, with "
        "active_days of every period_days.",
    )
    ramp_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="Days until a gradual scenario has its full strength."
    )
    period_days: Annotated[int, Field(ge=1)] = Field(
        default=14, description="Length of a period of a recurring scenario."
    )
    active_days: Annotated[int, Field(ge=1)] = Field(
        default=5, description="Days with frauds at the start of each period, when recurring."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.end_day is not None and self.end_day <= self.start_day:
            raise ValueError(
                f"scenario '{self.name}': end_day {self.end_day} must lie after "
                f"start_day {self.start_day}"
            )
        if self.active_days > self.period_days:
            raise ValueError(
                f"scenario '{self.name}': active_days {self.active_days} exceeds "
                f"period_days {self.period_days}"
            )
        if self.name == FALSE_REPORT:
            raise ValueError(f"scenario name '{FALSE_REPORT}' is reserved for label noise")
        return self

    def strength(self, index: int) -> float:
        """How strong the scenario is on a day, from 0 (absent) to 1 (its full share)."""
        if index < self.start_day or (self.end_day is not None and index >= self.end_day):
            return 0.0
        since = index - self.start_day
        if self.growth == "gradual":
            return min(1.0, (since + 1) / self.ramp_days)
        if self.growth == "recurring":
            return 1.0 if since % self.period_days < self.active_days else 0.0
        return 1.0


class CovariateShift(_Model):
    """A new channel: part of the customers adopt it and then behave differently for good.

    This moves the inputs of a model without being fraud. The same customers adopt first,
    whatever the day, so that a gradual shift never turns back.
    """

    start_day: DayIndex = Field(default=CHANGE_DAY, description="First day with the new channel.")
    end_day: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="First day without it again; none: it stays."
    )
    gradual_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Days until all who will adopt have adopted; 0: at once."
    )
    customer_share: Share = Field(default=0.6, description="Share of the customers who adopt.")
    amount_factor: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        default=1.5, description="Factor on the amounts of those who adopted."
    )
    activity_factor: Annotated[float, Field(gt=0.0, le=20.0)] = Field(
        default=1.6, description="Factor on the number of transactions of those who adopted."
    )
    new_payee_share: Share = Field(
        default=0.25,
        description="Share of habitual transactions that those who adopted send elsewhere.",
    )
    kind_mix: KindMix = Field(
        default=KindMix(cash_in=0.10, cash_out=0.12, debit=0.02, payment=0.50, transfer=0.26),
        description="Kind mix of those who adopted.",
    )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end_day is not None and self.end_day <= self.start_day:
            raise ValueError(
                f"shift: end_day {self.end_day} must lie after start_day {self.start_day}"
            )
        return self

    def adopted_share(self, index: int) -> float:
        """Share of all customers who use the new channel on a day."""
        if index < self.start_day or (self.end_day is not None and index >= self.end_day):
            return 0.0
        progress = (index - self.start_day + 1) / max(self.gradual_days, 1)
        return self.customer_share * min(1.0, progress)


def default_scenarios() -> tuple[FraudScenario, ...]:
    """The schedule of the product's demo: the frauds change on day `CHANGE_DAY`.

    Until then customers are taken over for large amounts and mules collect; from then on cards
    are tested with tiny payments, merchants are compromised, and takeovers stay modest. A model
    of the first regime finds little of the second.
    """
    return (
        FraudScenario(
            name="account_takeover",
            kind="account_takeover",
            end_day=CHANGE_DAY,
            share=0.0032,
            frauds_per_episode_day=5.0,
            episode_days=3,
            amount_factor=6.0,
        ),
        FraudScenario(
            name="mule_payees",
            kind="mule_payees",
            share=0.0015,
            frauds_per_episode_day=7.0,
            episode_days=12,
            amount_factor=1.8,
        ),
        FraudScenario(
            name="account_takeover_modest",
            kind="account_takeover",
            start_day=CHANGE_DAY,
            share=0.0006,
            frauds_per_episode_day=3.0,
            episode_days=4,
            amount_factor=1.8,
        ),
        FraudScenario(
            name="card_testing",
            kind="card_testing",
            start_day=CHANGE_DAY,
            share=0.0032,
            frauds_per_episode_day=14.0,
            episode_days=1,
            amount_factor=0.05,
        ),
        FraudScenario(
            name="compromised_merchant",
            kind="compromised_merchant",
            start_day=CHANGE_DAY,
            share=0.0032,
            frauds_per_episode_day=16.0,
            episode_days=14,
        ),
    )


class SimulatorConfig(_Model):
    """The simulated world. The defaults make the demo: 21 days of history, then 31 live days."""

    seed: Annotated[int, Field(ge=0)] = Field(
        default=20260101, description="Seed of everything: the same seed gives the same bytes."
    )
    transactions_per_day: Annotated[int, Field(ge=100, le=50_000_000)] = Field(
        default=20_000, description="Mean number of transactions of an ordinary weekday."
    )
    customers: Annotated[int, Field(ge=20)] | None = Field(
        default=None, description="Number of payers; none: half of transactions_per_day."
    )
    payees: Annotated[int, Field(ge=20)] | None = Field(
        default=None, description="Number of payees; none: an eighth of transactions_per_day."
    )
    kind_mix: KindMix = Field(default=KindMix(), description="Kind mix of ordinary transactions.")
    scenarios: tuple[FraudScenario, ...] = Field(
        default_factory=default_scenarios, description="The ways of committing fraud."
    )
    shift: CovariateShift | None = Field(
        default=CovariateShift(), description="The new channel; none: customers never change."
    )
    label_noise_share: SmallShare = Field(
        default=0.02,
        description="Share of the frauds that are never noticed (labelled legitimate); as many "
        f"legitimate transactions are wrongly reported as frauds (scenario '{FALSE_REPORT}').",
    )
    fraud_delay_min_days: Annotated[float, Field(ge=0.0, le=180.0)] = Field(
        default=0.25, description="Shortest delay after which a fraud becomes known, in days."
    )
    fraud_delay_max_days: Annotated[float, Field(ge=0.0, le=180.0)] = Field(
        default=2.0, description="Longest delay after which a fraud becomes known, in days."
    )
    legitimate_delay_days: Annotated[float, Field(ge=0.0, le=180.0)] = Field(
        default=2.0,
        description="Delay after which a transaction without a report counts as legitimate, in "
        "days; the profile's label delay.",
    )
    duplicates_share: SmallShare = Field(
        default=0.0005,
        description="Share of transactions that are sent again within half an hour, the same "
        "day, under the same id.",
    )
    dirty_share: SmallShare = Field(
        default=0.001, description="Share of legitimate transactions spoiled for the quarantine."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [scenario.name for scenario in self.scenarios]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"scenario names must be unique, used twice: {', '.join(twice)}")
        if self.fraud_delay_min_days > self.fraud_delay_max_days:
            raise ValueError(
                f"fraud_delay_min_days {self.fraud_delay_min_days:g} exceeds "
                f"fraud_delay_max_days {self.fraud_delay_max_days:g}"
            )
        if self.fraud_delay_max_days > self.legitimate_delay_days:
            raise ValueError(
                f"fraud_delay_max_days {self.fraud_delay_max_days:g} exceeds "
                f"legitimate_delay_days {self.legitimate_delay_days:g}: a transaction would count "
                "as legitimate before its fraud is reported"
            )
        return self

    @property
    def customer_count(self) -> int:
        """Number of payers, also where it was left to follow the volume."""
        return self.customers or max(20, self.transactions_per_day // 2)

    @property
    def payee_count(self) -> int:
        """Number of payees, also where it was left to follow the volume."""
        return self.payees or max(20, self.transactions_per_day // 8)
