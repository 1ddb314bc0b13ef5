"""Whether a retraining is worth its cost now: the reasons for one, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from fraud_assets.modeling.splits import training_end
from fraud_assets.monitoring.policy.decision import (
    Action,
    Decision,
    Facts,
    Found,
    Guard,
    Rule,
    made,
)
from fraud_assets.monitoring.policy.findings import decayed, is_drifting
from fraud_assets.transactions.profile import Profile


@dataclass(frozen=True)
class _Ground:
    """A reason to retrain.

    Only frauds of the days from `since` on count as learnable, or those of the window where it is
    None. `grown` asks for more of them than the last training learnt, by `choices.growth`.
    """

    rule: Rule
    found: str
    since: date | None = None
    grown: bool = False


def training(facts: Facts, findings: Found, profile: Profile) -> Decision | None:
    """Retrain for the first ground that allows it, or wait for the first; None without one."""
    decided = [_decided(one, facts, findings, profile) for one in _grounds(facts, profile)]
    return next((one for one in decided if one.action == "retrain"), next(iter(decided), None))


def _grounds(facts: Facts, profile: Profile) -> Iterator[_Ground]:
    """The reasons that there are, the most serious first."""
    if facts.never_trained:
        counts = f"{facts.labelled_days} labelled days"
        if facts.labelled_days >= facts.needed_days:
            found = f"no model yet, {counts} >= {facts.needed_days}"
            yield _Ground("first_training", found, grown=facts.last_trained is not None)
        return
    changes = list(_for_a_change(facts, profile))
    yield from changes
    needed = profile.monitoring.min_mature_positives
    if any(one.since and _learnable(facts, profile, one.since) < needed for one in changes):
        return  # whatever else there is to learn is the old world
    if facts.champion == facts.rules:
        yield _Ground("no_model", "the rules serve", grown=True)
    if facts.last_trained is not None:
        yield from _without_a_change(facts, facts.last_trained, profile)


def _for_a_change(facts: Facts, profile: Profile) -> Iterator[_Ground]:
    choices = profile.monitoring
    decay = decayed(facts, choices)
    if decay is not None:
        # The day on which it was first found, where no single day lies below the whole limit.
        since = facts.decaying_since or facts.waiting_since or facts.performance.matured_day
        yield _Ground("decay", decay, since, grown=True)
    if choices.drift_alone == "retrain" and is_drifting(facts.drift, choices):
        found = f"drift share {facts.drift.drift_share:.2f} >= {choices.drift_share_threshold:.2f}"
        yield _Ground("drift", found, facts.drifting_since, grown=True)
    episode = _open_episode(facts, profile)
    if episode is not None:
        learnable, learnt = _learnable(facts, profile, episode), _learnt(facts, profile, episode)
        if learnable >= max(choices.growth * learnt, choices.min_mature_positives):
            found = f"{learnable} frauds of the days since {episode} can be learnt, {learnt} were"
            yield _Ground("episode", found, episode)
    blind = _blind(facts, profile)
    if blind is not None:
        yield _Ground("unconfirmed_drift", blind, facts.drifting_since, grown=True)


def _without_a_change(facts: Facts, last_trained: date, profile: Profile) -> Iterator[_Ground]:
    """More to learn than the last training had, or a model that has grown old."""
    choices, window = profile.monitoring, profile.training.window_days
    learnable, learnt = _learnable(facts, profile, None), _learnt(facts, profile, None)
    days = min(window, _known_days(facts, profile, facts.day))
    days_learnt = min(window, _known_days(facts, profile, last_trained))
    more_days = days >= choices.growth * days_learnt or (days == window and days_learnt < window)
    # During a change the growth that counts is that of the changed days; and what was learnt is
    # known only where the reports of those days are.
    known = _open_episode(facts, profile) is None and _is_known(facts, profile, last_trained)
    if known and (learnable >= choices.growth * learnt or more_days):
        found = f"{learnable} frauds on {days} days can be learnt, {learnt} on {days_learnt} were"
        yield _Ground("growth", found)
    age = (facts.day - last_trained).days
    if choices.max_model_age_days is not None and age >= choices.max_model_age_days:
        episode = _open_episode(facts, profile)  # a change that is being learnt goes on
        yield _Ground("age", f"the last training was {age} days ago", episode)


def _decided(ground: _Ground, facts: Facts, findings: Found, profile: Profile) -> Decision:
    """The retraining, or what it waits for: data, another run, the cooldown, or frauds."""
    choices, since = profile.monitoring, ground.since
    learnable, learnt = _learnable(facts, profile, since), _learnt(facts, profile, since)
    needed = choices.min_mature_positives
    if ground.grown:
        needed = max(needed, round(choices.growth * learnt))
    numbers = {"learnable_frauds": learnable, "learnt_frauds": learnt, "needed_frauds": needed}
    waiting = _bad_data(facts, profile) or _too_soon(facts, profile)
    if waiting is None and learnable < needed:
        of_days = "" if since is None else f" of the days since {since}"
        waiting = "frauds", f"{learnable} mature frauds{of_days} < {needed}"
    if waiting is None:
        reason = f"{ground.found}; {learnable} mature frauds to learn from"
        return made(facts, findings, "retrain", ground.rule, reason, since=since, numbers=numbers)
    guard, why = waiting
    action: Action = "warn" if findings else "nothing"
    return made(
        facts,
        findings,
        action,
        ground.rule,
        f"{why}; waiting: {ground.found}",
        since=since,
        waiting_for=guard,
        numbers=numbers,
    )


def _bad_data(facts: Facts, profile: Profile) -> tuple[Guard, str] | None:
    """Drift and decay are often a broken feed, and a retraining would learn the breakage."""
    share, limit = facts.quarantine_share, profile.monitoring.max_quarantine_share
    if facts.suspended_for == "broken_inputs":
        # The challenger would be compared with a stand-in, and not with what is waited for.
        return "data", f"champion {facts.suspended} waits for its inputs to be whole"
    if share is None:
        return "data", "the share of quarantined rows is not known"
    if share > limit:
        return "data", f"quarantined {share:.1%} > {limit:.1%}: repair the data first"
    weight = facts.drift.broken_weights.get(facts.drift.reference_version, 0.0)
    if weight >= profile.monitoring.max_broken_weight:
        return "data", f"broken inputs are {weight:.0%} of what the model goes by"
    return None


def _too_soon(facts: Facts, profile: Profile) -> tuple[Guard, str] | None:
    if facts.retraining_running:
        return "running", "a retraining is running: one at a time"
    last, cooldown = facts.last_requested, profile.monitoring.cooldown_days
    if last is not None and (facts.day - last).days < cooldown:
        days = (facts.day - last).days
        return "cooldown", f"{days} days since the retraining of {last} < {cooldown}"
    return None


def _open_episode(facts: Facts, profile: Profile) -> date | None:
    """The change that is still being learnt: one that the training window has not left behind."""
    since = facts.episode_since
    if since is None or facts.last_trained is None or _window(facts.day, profile)[0] >= since:
        return None
    return since


def _blind(facts: Facts, profile: Profile) -> str | None:
    """A lasting drift that performance can not confirm, in words; None if it can, or may still."""
    choices, since = profile.monitoring, facts.drifting_since
    known = facts.performance.recent_days
    if since is None or known >= choices.performance_days:
        return None
    # A champion that is younger than the drift has not had the days to be judged by.
    watched_since = max(since, facts.champion_since or since)
    lasting = (facts.day - watched_since).days - profile.label_delay_days
    if lasting < 2 * choices.performance_days:
        return None
    return (
        f"drift since {since}, and only {known} matured days with frauds < "
        f"{choices.performance_days} to confirm it"
    )


def _window(day: date, profile: Profile) -> tuple[date, date]:
    """First and last day that a training as of `day` learns from."""
    last = training_end(day, profile.label_delay_days, profile.training)
    return last - timedelta(days=profile.training.window_days - 1), last


def _is_known(facts: Facts, profile: Profile, as_of: date) -> bool:
    """Whether the frauds of every day that a training as of `as_of` learnt from are known."""
    first, last = _window(as_of, profile)
    begin = max(first, facts.day - timedelta(days=facts.labelled_days - 1))
    days = (begin + timedelta(days=i) for i in range((last - begin).days + 1))
    return all(day in facts.frauds_by_day for day in days)


def _known_days(facts: Facts, profile: Profile, as_of: date) -> int:
    """Days from the first one on that a training as of `as_of` could learn from."""
    first = facts.day - timedelta(days=facts.labelled_days - 1)
    return max(0, (_window(as_of, profile)[1] - first).days + 1)


def _learnable(facts: Facts, profile: Profile, since: date | None) -> int:
    """Frauds that a training as of the day would learn from, of the days from `since` on."""
    return _frauds(facts, profile, facts.day, since)


def _learnt(facts: Facts, profile: Profile, since: date | None) -> int:
    """The same for the last training."""
    return 0 if facts.last_trained is None else _frauds(facts, profile, facts.last_trained, since)


def _frauds(facts: Facts, profile: Profile, as_of: date, since: date | None) -> int:
    first, last = _window(as_of, profile)
    first = first if since is None else max(first, since)
    return sum(count for day, count in facts.frauds_by_day.items() if first <= day <= last)
