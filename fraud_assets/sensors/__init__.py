"""The sensors: each looks at what has happened and requests runs, or tells people.

No rule belongs here: what counts as drift or decay, and what is done about it, is
`monitoring.policy`, and what is worth telling is `monitoring.alerts`. A sensor remembers the last
thing that it saw by its id, so that nothing is done twice, and its requests carry keys of their
own, so that a tick that is repeated after a crash requests nothing new.
"""

import dagster as dg

from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING, ROLLBACK, Job
from fraud_assets.sensors.alerts import ALERT_SENSOR, build_alert_sensor
from fraud_assets.sensors.loop import LOOP_SENSOR, REASON_TAG, build_loop_sensor
from fraud_assets.sensors.new_day import NEW_DAY_SENSOR, build_new_day_sensor
from fraud_assets.settings import Settings
from fraud_assets.transactions.profile import Profile

__all__ = ["ALERT_SENSOR", "LOOP_SENSOR", "NEW_DAY_SENSOR", "REASON_TAG", "build_sensors"]


def build_sensors(
    settings: Settings, profile: Profile, jobs: dict[str, Job]
) -> list[dg.SensorDefinition]:
    """The three sensors of an installation."""
    return [
        build_new_day_sensor(settings, profile, jobs[DAILY_PIPELINE]),
        build_loop_sensor(profile, jobs[RETRAINING], jobs[ROLLBACK]),
        build_alert_sensor(settings, profile),
    ]
