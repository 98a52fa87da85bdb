-- Status for operators. Each function reads the catalog as its caller.

CREATE FUNCTION pgtrickle.pgt_status()
RETURNS TABLE (name text, status text, refresh_mode text, is_populated boolean, consecutive_errors int, schedule text,
               data_timestamp timestamptz, staleness interval, scc_id int)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.pgt_schema || '.' || s.pgt_name, s.status, s.refresh_mode, s.is_populated, s.consecutive_errors, s.schedule,
           s.data_timestamp, now() - s.data_timestamp, s.scc_id
    FROM pgtrickle.pgt_stream_tables s
    ORDER BY s.pgt_schema, s.pgt_name
$$;
COMMENT ON FUNCTION pgtrickle.pgt_status() IS 'one row per stream table';

CREATE FUNCTION pgtrickle.health_check()
RETURNS TABLE (check_name text, severity text, detail text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH tables AS (
        SELECT pgt_schema || '.' || pgt_name AS name, * FROM pgtrickle.pgt_stream_tables
    ), buffers AS (
        SELECT t.source_relid::regclass::text AS name, c.reltuples
        FROM pgtrickle.pgt_change_tracking t JOIN pg_class c ON c.oid = t.buffer_relid
    ), uncaptured AS (
        -- Some trigger of a source is gone or disabled.
        SELECT t.source_relid::regclass::text AS name
        FROM pgtrickle.pgt_change_tracking t JOIN pg_class c ON c.oid = t.source_relid
        LEFT JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname ~ ('^pg_trickle_cdc_[a-z]+_' || c.oid || '$')
        WHERE c.relkind IN ('r', 'p')
        GROUP BY t.source_relid, c.relkind
        HAVING bool_or(g.tgenabled = 'D')
            OR count(*) FILTER (WHERE g.tgname ^@ 'pg_trickle_cdc_truncate_' AND g.tgenabled = 'A') <> 1
            OR count(*) FILTER (WHERE g.tgname ~ '_(ins|upd|del)_') NOT IN (0, 3)
            OR (c.relkind = 'r' AND count(*) FILTER (WHERE g.tgname ^@ 'pg_trickle_cdc_row_') <> 1)
    ), deaf AS (
        -- Changes of definitions go unnoticed.
        SELECT 'the setting event_triggers is off' AS name WHERE NOT current_setting('event_triggers')::bool
        UNION ALL
        SELECT w.name || ' is missing or not ENABLE ALWAYS'
        FROM unnest(ARRAY['rewrite', 'ddl', 'drop', 'alter', 'departure']) AS k (kind), LATERAL (SELECT 'pg_trickle_' || k.kind || '_tracker') AS w (name)
        WHERE NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = w.name AND e.evtenabled = 'A')
    ), slots AS (
        SELECT r.slot_name::text AS name,
               pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                               r.restart_lsn) AS retained
        FROM pg_replication_slots r WHERE r.slot_name ^@ 'pgtrickle_' AND r.database = current_database()
    )
    SELECT 'scheduler_running',
           CASE WHEN count(*) > 0 THEN 'OK' ELSE 'ERROR' END,
           CASE WHEN count(*) > 0 THEN 'the scheduler of this database is running'
                ELSE 'no scheduler runs for this database; see shared_preload_libraries and pg_trickle.enabled' END
    FROM pg_stat_activity WHERE backend_type = 'pg_trickle scheduler' AND datname = current_database()
    UNION ALL
    SELECT 'error_tables', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'ERROR' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM tables WHERE status IN ('ERROR', 'SUSPENDED')
    UNION ALL
    SELECT 'stale_tables', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM pgtrickle._stale_tables() AS stale (name)
    UNION ALL
    SELECT 'needs_reinit', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM tables WHERE needs_reinit
    UNION ALL
    SELECT 'consecutive_errors', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none'
                ELSE string_agg(name || ' (' || consecutive_errors || ')', ', ' ORDER BY name) END
    FROM tables WHERE consecutive_errors > 0
    UNION ALL
    SELECT 'buffer_growth', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM buffers WHERE reltuples > 10000
    UNION ALL
    SELECT 'capture', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'ERROR' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM uncaptured
    UNION ALL
    SELECT 'event_triggers', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none' ELSE string_agg(name, ', ' ORDER BY name) END
    FROM deaf
    UNION ALL
    SELECT 'slot_lag', CASE WHEN count(*) = 0 THEN 'OK' ELSE 'WARN' END,
           CASE WHEN count(*) = 0 THEN 'none'
                ELSE string_agg(name || ' (' || pg_size_pretty(retained) || ')', ', ' ORDER BY name) END
    FROM slots WHERE retained > pgtrickle._slot_lag_warning_bytes()
$$;
COMMENT ON FUNCTION pgtrickle.health_check() IS 'checks with severity OK, WARN or ERROR';
