"""Raw, validated and quarantined transactions."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from fraud_assets.assets import OWNERS, QUARANTINED, RAW, VALIDATED
from fraud_assets.assets.describe import column_schema, table, transaction_columns
from fraud_assets.lake import Lake
from fraud_assets.metadata import RawRecord, ValidationRecord
from fraud_assets.partitions import SimulationDays, run_days
from fraud_assets.transactions.columns import SOURCE_ROW, TRANSACTION_ID
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources import SourceError, TransactionSource
from fraud_assets.transactions.validation import validate_day

CONSERVATION_CHECK = "rows_are_conserved"
REJECT_SHARE_CHECK = "reject_share_within_limit"


def build_transaction_assets(days: SimulationDays, profile: Profile) -> list[dg.AssetsDefinition]:
    """The group `transactions`."""

    @dg.asset(
        key=RAW,
        group_name="transactions",
        owners=OWNERS,
        kinds={"parquet", "polars"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="1",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=2.0, backoff=dg.Backoff.EXPONENTIAL),
        description=(
            "The day as the source gave it, every row and column untouched, with its position in "
            "the source. Nothing is judged here."
        ),
        metadata=column_schema(
            [(SOURCE_ROW, "int64", "position in the source, from zero"), ("…", "any", "as given")]
        ),
    )
    def raw_transactions(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        source: dg.ResourceParam[TransactionSource],
    ) -> None:
        for day in run_days(context):
            try:
                frame = source.read_day(day)
            except SourceError as error:  # the same file is as broken the next time
                raise dg.Failure(str(error), allow_retries=False) from error
            written = lake.write_day(RAW, day, frame)
            record = RawRecord(
                rows=frame.height,
                size_bytes=written.size_bytes,
                sha256=written.sha256,
                source=type(source).__name__,
            )
            context.add_asset_metadata(
                {
                    **record.to_dagster(),
                    "dagster/row_count": frame.height,
                    "path": dg.MetadataValue.path(written.path),
                    **{f"source_{k}": v for k, v in source.note(day).items()},
                },
                partition_key=day.isoformat(),
            )

    lookback = profile.validation.duplicate_lookback_days

    @dg.multi_asset(
        name="validate_transactions",
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        specs=[
            dg.AssetSpec(
                VALIDATED,
                group_name="transactions",
                owners=OWNERS,
                kinds={"parquet", "pandera", "polars"},
                code_version="1",
                # The ids of earlier days are compared too, so a re-sent transaction is found.
                deps=[
                    dg.AssetDep(RAW),
                    dg.AssetDep(
                        VALIDATED,
                        partition_mapping=dg.TimeWindowPartitionMapping(
                            start_offset=-1,
                            end_offset=-1,
                            allow_nonexistent_upstream_partitions=True,
                        ),
                    ),
                ],
                description=(
                    "Rows that meet the schema made from the profile, in canonical columns, each "
                    "transaction once: an id seen on an earlier day is a duplicate, not a row."
                ),
                metadata=column_schema(transaction_columns(profile)),
            ),
            dg.AssetSpec(
                QUARANTINED,
                group_name="transactions",
                owners=OWNERS,
                kinds={"parquet", "pandera"},
                code_version="1",
                deps=[dg.AssetDep(RAW)],
                description=(
                    "Rows that did not pass, as they came, each with every rule that it broke; "
                    "and the duplicates. Nothing is lost: validated + quarantined + duplicates "
                    "= raw."
                ),
                metadata=column_schema(
                    [
                        (SOURCE_ROW, "int64", "position in the source, from zero"),
                        ("reject_reasons", "list[string]", "every rule that the row broke"),
                        ("is_duplicate", "bool", "a re-sent transaction rather than a bad one"),
                        ("…", "any", "the raw columns"),
                    ]
                ),
            ),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                CONSERVATION_CHECK,
                asset=QUARANTINED,
                blocking=True,
                description="validated + quarantined + duplicates = raw, for every day.",
            ),
            dg.AssetCheckSpec(
                REJECT_SHARE_CHECK,
                asset=VALIDATED,
                blocking=True,
                description=(
                    f"At most {profile.validation.max_reject_share:.1%} of a day is rejected; "
                    "above it the day stops here."
                ),
            ),
        ],
    )
    def validate_transactions(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.MaterializeResult[None]]:
        accounts: list[ValidationRecord] = []
        known = KnownIds(lake, days, lookback)
        run = run_days(context)
        for day in run:
            outcome = validate_day(lake.read_days(RAW, [day]), profile, day, known.before(day))
            rejects = pl.concat(
                [
                    outcome.quarantined.with_columns(is_duplicate=False),
                    outcome.duplicates.with_columns(is_duplicate=True),
                ]
            ).sort(SOURCE_ROW)
            written = lake.write_day(VALIDATED, day, outcome.validated)
            rejected = lake.write_day(QUARANTINED, day, rejects)
            known.add(day, outcome.validated[TRANSACTION_ID])
            record = ValidationRecord(
                raw_rows=outcome.raw_rows,
                validated_rows=outcome.validated.height,
                quarantined_rows=outcome.quarantined.height,
                duplicate_rows=outcome.duplicates.height,
                reject_share=outcome.reject_share,
                sha256=written.sha256,
            )
            accounts.append(record)
            for key, rows, path in (
                (VALIDATED, outcome.validated.height, written.path),
                (QUARANTINED, rejects.height, rejected.path),
            ):
                context.add_asset_metadata(
                    {
                        **record.to_dagster(),
                        "dagster/row_count": rows,
                        "path": dg.MetadataValue.path(path),
                        **table("reasons", outcome.reasons_table().to_dicts()),
                    },
                    asset_key=key,
                    partition_key=day.isoformat(),
                )
        limit = profile.validation.max_reject_share
        yield dg.MaterializeResult(
            asset_key=VALIDATED, check_results=[_reject_share(run, accounts, limit)]
        )
        yield dg.MaterializeResult(
            asset_key=QUARANTINED, check_results=[_conservation(run, accounts)]
        )

    return [raw_transactions, validate_transactions]


class KnownIds:
    """Ids validated on earlier days, read once per run and carried from day to day."""

    def __init__(self, lake: Lake, days: SimulationDays, lookback: int) -> None:
        self._lake, self._days, self._lookback = lake, days, lookback
        self._by_day: dict[date, pl.Series] = {}

    def before(self, day: date) -> pl.Series | None:
        """The ids of the days before `day` that are within the look-back; None without any."""
        window = [d for d in self._days.trailing(day, self._lookback) if d != day]
        self._by_day = {d: ids for d, ids in self._by_day.items() if d in set(window)}
        for earlier in window:
            if earlier not in self._by_day and self._lake.has_day(VALIDATED, earlier):
                frame = self._lake.read_days(VALIDATED, [earlier], [TRANSACTION_ID])
                self._by_day[earlier] = frame[TRANSACTION_ID]
        found = [self._by_day[d] for d in window if d in self._by_day]
        return pl.concat(found, rechunk=False) if found else None

    def add(self, day: date, ids: pl.Series) -> None:
        """Remember what this run has validated itself."""
        self._by_day[day] = ids


def _conservation(run: list[date], accounts: list[ValidationRecord]) -> dg.AssetCheckResult:
    lost = [
        day
        for day, r in zip(run, accounts, strict=True)
        if r.raw_rows != r.validated_rows + r.quarantined_rows + r.duplicate_rows
    ]
    totals = {
        "raw": sum(r.raw_rows for r in accounts),
        "validated": sum(r.validated_rows for r in accounts),
        "quarantined": sum(r.quarantined_rows for r in accounts),
        "duplicates": sum(r.duplicate_rows for r in accounts),
    }
    return dg.AssetCheckResult(
        asset_key=QUARANTINED,
        check_name=CONSERVATION_CHECK,
        passed=not lost,
        metadata={**totals, "days": len(run), "days_with_a_difference": [str(d) for d in lost]},
        description="rows were lost on " + ", ".join(map(str, lost)) if lost else None,
    )


def _reject_share(
    run: list[date], accounts: list[ValidationRecord], limit: float
) -> dg.AssetCheckResult:
    over = [d for d, r in zip(run, accounts, strict=True) if r.reject_share > limit]
    worst = max(accounts, key=lambda r: r.reject_share)
    return dg.AssetCheckResult(
        asset_key=VALIDATED,
        check_name=REJECT_SHARE_CHECK,
        passed=not over,
        metadata={
            "worst_reject_share": worst.reject_share,
            "limit": limit,
            "days_over_the_limit": [str(d) for d in over],
        },
        description=(
            f"{', '.join(map(str, over))}: more than {limit:.1%} of the rows were rejected. Read "
            f"the reasons on {QUARANTINED}, mend the source or the profile, and materialise the "
            "day again; validation.max_reject_share in the profile moves the limit."
            if over
            else None
        ),
    )


__all__ = ["CONSERVATION_CHECK", "REJECT_SHARE_CHECK", "build_transaction_assets"]
