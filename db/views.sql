-- The views are a contract: people query them. {timestamp(x)} and {next_month(x)} are filled in per dialect (views.py).

CREATE VIEW klines AS
SELECT s.symbol, s.timeframe, {timestamp(c.open_time)} AS open_time, c.open_time AS open_time_ms,
       c.open, c.high, c.low, c.close, c.volume, c.quote_volume, c.trades, c.taker_base, c.taker_quote,
       o.name AS source, c.flags
FROM candles c
JOIN series s ON s.id = c.series_id
JOIN sources o ON o.id = c.source_id;

-- What is neither stored nor proven absent between the first slot wanted and the last one proven closed.
-- Costs the number of coverage intervals, never the number of candles.
CREATE VIEW gaps AS
WITH wanted AS (
    SELECT id, symbol, timeframe, timeframe_ms, closed_until_ms AS end_ms,
           CASE WHEN listed_ms > wanted_start_ms THEN listed_ms ELSE wanted_start_ms END AS start_ms,
           CASE timeframe WHEN '3d' THEN coalesce(anchor_ms, 0) WHEN '1w' THEN 345600000 ELSE 0 END AS anchor_ms
    FROM series
    WHERE enabled AND closed_until_ms IS NOT NULL
), span AS (
    SELECT id, symbol, timeframe, timeframe_ms, end_ms,
           CASE timeframe WHEN '1M' THEN {next_month(start_ms)}
                ELSE start_ms + ((anchor_ms - start_ms) % timeframe_ms + timeframe_ms) % timeframe_ms END AS start_ms
    FROM wanted
), mark AS (
    SELECT s.id, c.start_ms, c.end_ms
    FROM span s
    JOIN coverage c ON c.series_id = s.id AND c.start_ms < s.end_ms AND c.end_ms > s.start_ms
    UNION ALL
    SELECT id, end_ms, end_ms FROM span
), hole AS (
    SELECT id, start_ms AS end_ms, lag(end_ms) OVER (PARTITION BY id ORDER BY start_ms, end_ms) AS start_ms
    FROM mark
), gap AS (
    SELECT s.symbol, s.timeframe, s.timeframe_ms, coalesce(h.start_ms, s.start_ms) AS start_ms, h.end_ms
    FROM hole h
    JOIN span s ON s.id = h.id
)
SELECT symbol, timeframe, start_ms, end_ms,
       CAST(round((end_ms - start_ms) * 1.0 / timeframe_ms) AS bigint) AS missing
FROM gap
WHERE end_ms > start_ms;

-- The newest candle of each series, found by one index seek a series: CROSS JOIN is how SQLite is told to begin with
-- the series (it would scan the candles), and means the same everywhere.
CREATE VIEW latest AS
SELECT s.symbol, s.timeframe, {timestamp(c.open_time)} AS open_time, c.open_time AS open_time_ms,
       c.open, c.high, c.low, c.close, c.volume, o.name AS source
FROM series s
CROSS JOIN candles c
JOIN sources o ON o.id = c.source_id
WHERE c.series_id = s.id AND c.open_time = (SELECT max(n.open_time) FROM candles n WHERE n.series_id = s.id);
