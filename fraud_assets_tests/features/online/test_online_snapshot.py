"""Snapshots: a state comes back as it was, or not at all."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.online.events import LabelEvent, OnlineTransaction
from fraud_assets.features.online.snapshot import restore, save
from fraud_assets.features.online.state import OnlineFeatures

HOUR_US = 3_600_000_000


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(data=st.data())
def test_a_snapshot_at_any_cut_changes_no_later_answer(
    data, features, parity, build, histories, tmp_path
):
    transactions, labels = build(data.draw(histories))
    cut = data.draw(st.integers(0, transactions.height))
    told = parity.labels_of(labels, parity.delay_of(features))
    known = data.draw(st.integers(0, len(told)))
    state = OnlineFeatures(features)
    for label in told[:known]:
        state.add_label(label)
    order = data.draw(st.permutations(range(transactions.height)))
    rows = [parity.transactions_of(transactions)[i] for i in order]
    for transaction in rows[:cut]:
        state.observe(transaction)
    path = tmp_path / "folder" / "state"
    save(state, path, f"after {cut}")
    found = restore(features, path, late_days=2.0)
    assert found is not None
    restored, position = found
    assert position == f"after {cut}"
    assert (restored.newest_us, restored.size) == (state.newest_us, state.size)
    for label in told[known:]:
        state.add_label(label)
        restored.add_label(label)
    for transaction in rows[cut:]:
        assert restored.observe(transaction) == state.observe(transaction)
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def features_(parity):
    return parity.feature_set_of("everything")


@pytest.fixture
def saved(features_, tmp_path):
    state = OnlineFeatures(features_, late_days=2.0)
    for i in range(50):
        state.observe(OnlineTransaction(f"t{i}", i * HOUR_US, i + 0.5, f"A{i % 3}", f"X{i % 7}"))
        state.add_label(LabelEvent(i * HOUR_US, i % 2, i + 0.5, f"A{i % 3}", None))
    save(state, tmp_path / "state", "here")
    return tmp_path / "state"


def test_a_missing_snapshot_is_none(features_, tmp_path):
    assert restore(features_, tmp_path / "nothing", late_days=2.0) is None


def test_a_snapshot_of_other_features_is_refused(parity, saved, caplog):
    with caplog.at_level(logging.WARNING):
        assert restore(parity.feature_set_of("simulator"), saved, late_days=2.0) is None
    assert "other features" in caplog.text


def test_a_snapshot_with_less_history_than_is_wanted_is_refused(features_, saved, caplog):
    with caplog.at_level(logging.WARNING):
        assert restore(features_, saved, late_days=3.0) is None
    assert "2 days late, and 3 are wanted" in caplog.text
    assert restore(features_, saved, late_days=1.0) is not None


def test_a_snapshot_cut_anywhere_is_refused(features_, saved, caplog):
    content = saved.read_bytes()
    assert restore(features_, saved, late_days=2.0) is not None
    for length in [*range(0, len(content), 97), len(content) - 1]:
        saved.write_bytes(content[:length])
        assert restore(features_, saved, late_days=2.0) is None, length
    saved.write_bytes(content + b"\0")
    assert restore(features_, saved, late_days=2.0) is None
    assert "is not used" in caplog.text


def test_a_snapshot_with_a_changed_byte_is_refused(features_, saved):
    content = saved.read_bytes()
    for at in range(0, len(content), 53):
        changed = bytearray(content)
        changed[at] ^= 1
        saved.write_bytes(changed)
        assert restore(features_, saved, late_days=2.0) is None, at


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(features_, saved, tmp_path):
    before = saved.read_bytes()
    state = OnlineFeatures(features_)
    blocked = tmp_path / "state" / "below"  # a file stands where the folder should be
    with pytest.raises((FileExistsError, NotADirectoryError)):
        save(state, blocked, "lost")
    assert saved.read_bytes() == before


def test_a_snapshot_can_be_read_by_its_owner_only(saved):
    assert saved.stat().st_mode & 0o777 == 0o600
