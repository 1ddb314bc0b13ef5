-- The features of the shipped profile, by hand and in one pass: what `bare.py` runs on DuckDB.
-- Windows are those of `fraud_assets/features/semantics.py`: (t - w, t], a millisecond short of w.
WITH labels AS (
    SELECT payee_id, label,
        greatest(epoch_us(label_known_at), epoch_us(event_time + INTERVAL 2 DAY)) AS usable_us
    FROM label_rows
),
stream AS (
    SELECT payee_id, event_order_us AS usable_us, event_order_us AS row_key, NULL::TINYINT AS label
    FROM transactions
    UNION ALL BY NAME
    SELECT payee_id, usable_us, NULL AS row_key, label::TINYINT AS label FROM labels
),
risk AS (
    SELECT row_key,
        coalesce(avg(label) OVER payee_1d, 0) AS payee_risk_1d,
        coalesce(avg(label) OVER payee_7d, 0) AS payee_risk_7d
    FROM stream
    WINDOW
        payee_1d AS (PARTITION BY payee_id ORDER BY usable_us
            RANGE BETWEEN 86399999000 PRECEDING AND CURRENT ROW),
        payee_7d AS (PARTITION BY payee_id ORDER BY usable_us
            RANGE BETWEEN 604799999000 PRECEDING AND CURRENT ROW)
    QUALIFY row_key >= $first_us
),
history AS (
    SELECT *,
        hour(event_time AT TIME ZONE 'UTC') AS hour,
        (hour(event_time AT TIME ZONE 'UTC') <= 6)::INT AS is_night,
        count(*) OVER payer_1d AS payer_count_1d,
        avg(amount) OVER payer_1d AS payer_mean_amount_1d,
        max(amount) OVER payer_1d AS payer_max_amount_1d,
        count(*) OVER payer_7d AS payer_count_7d,
        avg(amount) OVER payer_7d AS payer_mean_amount_7d,
        max(amount) OVER payer_7d AS payer_max_amount_7d,
        event_order_us - lag(event_order_us) OVER payer AS since_payer,
        count(*) OVER payee_1d AS payee_count_1d,
        avg(amount) OVER payee_1d AS payee_mean_amount_1d,
        count(*) OVER payee_7d AS payee_count_7d,
        avg(amount) OVER payee_7d AS payee_mean_amount_7d,
        event_order_us - lag(event_order_us) OVER payee AS since_payee,
        event_order_us - lag(event_order_us) OVER pair AS since_pair
    FROM transactions
    WINDOW
        payer AS (PARTITION BY payer_id ORDER BY event_order_us),
        payee AS (PARTITION BY payee_id ORDER BY event_order_us),
        pair AS (PARTITION BY payer_id, payee_id ORDER BY event_order_us),
        payer_1d AS (payer RANGE BETWEEN 86399999000 PRECEDING AND CURRENT ROW),
        payer_7d AS (payer RANGE BETWEEN 604799999000 PRECEDING AND CURRENT ROW),
        payee_1d AS (payee RANGE BETWEEN 86399999000 PRECEDING AND CURRENT ROW),
        payee_7d AS (payee RANGE BETWEEN 604799999000 PRECEDING AND CURRENT ROW)
    QUALIFY event_order_us >= $first_us
)
SELECT transaction_id, event_time, event_order_us, payer_id, amount,
    hour::FLOAT AS hour, is_night::FLOAT AS is_night,
    payer_count_1d::FLOAT AS payer_count_1d,
    payer_mean_amount_1d::FLOAT AS payer_mean_amount_1d,
    payer_max_amount_1d::FLOAT AS payer_max_amount_1d,
    payer_count_7d::FLOAT AS payer_count_7d,
    payer_mean_amount_7d::FLOAT AS payer_mean_amount_7d,
    payer_max_amount_7d::FLOAT AS payer_max_amount_7d,
    (CASE WHEN since_payer <= 604799999000 THEN since_payer / 1e6 END)::FLOAT
        AS payer_seconds_since_last,
    (amount / payer_mean_amount_7d)::FLOAT AS payer_amount_ratio,
    payee_count_1d::FLOAT AS payee_count_1d,
    payee_mean_amount_1d::FLOAT AS payee_mean_amount_1d,
    payee_count_7d::FLOAT AS payee_count_7d,
    payee_mean_amount_7d::FLOAT AS payee_mean_amount_7d,
    (CASE WHEN since_payee <= 604799999000 THEN since_payee / 1e6 END)::FLOAT
        AS payee_seconds_since_last,
    payee_risk_1d::FLOAT AS payee_risk_1d, payee_risk_7d::FLOAT AS payee_risk_7d,
    (CASE WHEN since_pair <= 604799999000 THEN 0 ELSE 1 END)::FLOAT AS is_new_payee,
    kind
FROM history JOIN risk ON event_order_us = row_key
ORDER BY event_order_us
