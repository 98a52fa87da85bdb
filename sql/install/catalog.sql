-- The extension's own tables. Columns and names are a public surface: drivers and dashboards read them.

CREATE SCHEMA pgtrickle;
COMMENT ON SCHEMA pgtrickle IS 'stream tables: functions and catalog of pg_trickle';

CREATE SCHEMA pgtrickle_changes;
REVOKE ALL ON SCHEMA pgtrickle_changes FROM PUBLIC;
COMMENT ON SCHEMA pgtrickle_changes IS 'change buffers of pg_trickle';

CREATE SCHEMA pgtrickle_state;
GRANT USAGE ON SCHEMA pgtrickle_state TO PUBLIC;
COMMENT ON SCHEMA pgtrickle_state IS 'inner results of stream tables';

-- Every refresh updates a row here and adds one to the history. A statement that writes a table parses each of the
-- table's check constraints anew, and a foreign key asks the other table; these two have neither. The code that
-- writes them knows what is valid.
CREATE TABLE pgtrickle.pgt_stream_tables (
    pgt_id                  bigserial PRIMARY KEY,
    pgt_relid               oid UNIQUE,  -- NULL: came with a restored dump
    pgt_name                text NOT NULL,
    pgt_schema              text NOT NULL,
    defining_query          text NOT NULL,
    original_query          text,
    schedule                text,
    refresh_mode            text NOT NULL DEFAULT 'DIFFERENTIAL',  -- FULL, DIFFERENTIAL, IMMEDIATE
    requested_mode          text NOT NULL,  -- likewise, or AUTO
    refusal                 text,
    status                  text NOT NULL DEFAULT 'INITIALIZING',  -- INITIALIZING, ACTIVE, SUSPENDED, ERROR
    is_populated            boolean NOT NULL DEFAULT false,
    data_timestamp          timestamptz,
    frontier                jsonb,
    last_refresh_at         timestamptz,
    consecutive_errors      int NOT NULL DEFAULT 0,
    needs_reinit            boolean NOT NULL DEFAULT false,
    auto_threshold          float8,
    last_full_ms            float8,
    costs                   jsonb,  -- of an AUTO stream table, learned from its refreshes
    functions_used          text[],
    types_used              text[],
    types_version           int NOT NULL DEFAULT 0,
    topk_limit              int,
    topk_order_by           text,
    topk_offset             int,
    diamond_consistency     text NOT NULL DEFAULT 'atomic',  -- none, atomic
    diamond_schedule_policy text NOT NULL DEFAULT 'fastest',  -- fastest, slowest
    has_keyless_source      boolean NOT NULL DEFAULT false,
    function_hashes         text,
    requested_cdc_mode      text,  -- auto, trigger, wal
    is_append_only          boolean NOT NULL DEFAULT false,
    scc_id                  int,
    last_fixpoint_iterations int,
    max_differential_joins  int,
    max_delta_fraction      float8,
    pooler_compatibility_mode boolean NOT NULL DEFAULT false,
    refresh_tier            text NOT NULL DEFAULT 'hot',  -- hot, warm, cold, frozen
    effective_refresh_mode  text,
    fuse_mode               text NOT NULL DEFAULT 'off',  -- off, on, auto
    fuse_state              text NOT NULL DEFAULT 'armed',  -- armed, blown, disabled
    fuse_ceiling            bigint,
    fuse_sensitivity        int,
    blown_at                timestamptz,
    blow_reason             text,
    last_error_message      text,
    last_error_at           timestamptz,
    downstream_publication_name text,
    freshness_deadline_ms   bigint,
    st_partition_key        text,
    -- Of the session that created it: its values are computed by them.
    settings                jsonb NOT NULL DEFAULT '{}',
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX idx_pgt_name ON pgtrickle.pgt_stream_tables (pgt_schema, pgt_name);
CREATE INDEX idx_pgt_status ON pgtrickle.pgt_stream_tables (status);

-- What a backend needs to refresh a stream table without parsing its query again: the compiled stages, and the state
-- tables that belong to it. The query itself is kept as PostgreSQL analysed it, so that it goes on meaning what it meant when
-- something is renamed; the wording is what the stages say in names.
CREATE TABLE pgtrickle.pgt_programs (
    pgt_id                  bigint PRIMARY KEY REFERENCES pgtrickle.pgt_stream_tables (pgt_id) ON DELETE CASCADE,
    definition              text NOT NULL,
    wording                 text NOT NULL,
    program                 text NOT NULL,
    state_relids            oid[] NOT NULL DEFAULT '{}'
);

-- Sessions remember what a stream table reads as long as its row in pgt_stream_tables is the same version: whoever writes here, or
-- changes tracked_by_pgt_ids, writes that row too.
CREATE TABLE pgtrickle.pgt_dependencies (
    pgt_id                  bigint NOT NULL REFERENCES pgtrickle.pgt_stream_tables (pgt_id) ON DELETE CASCADE,
    source_relid            oid NOT NULL,
    source_type             text NOT NULL
        CHECK (source_type IN ('TABLE', 'STREAM_TABLE', 'VIEW', 'MATVIEW', 'FOREIGN_TABLE')),
    columns_used            text[],
    column_snapshot         jsonb,
    schema_fingerprint      text,
    cdc_mode                text NOT NULL DEFAULT 'TRIGGER' CHECK (cdc_mode IN ('TRIGGER', 'TRANSITIONING', 'WAL', 'SNAPSHOT')),
    slot_name               text,
    decoder_confirmed_lsn   pg_lsn,
    transition_started_at   timestamptz,
    snapshot_relid          oid,
    PRIMARY KEY (pgt_id, source_relid)
);
CREATE INDEX idx_deps_source ON pgtrickle.pgt_dependencies (source_relid);
CREATE INDEX idx_deps_pgt_id ON pgtrickle.pgt_dependencies (pgt_id);

CREATE TABLE pgtrickle.pgt_refresh_history (
    refresh_id              bigserial PRIMARY KEY,
    pgt_id                  bigint NOT NULL,
    data_timestamp          timestamptz NOT NULL,
    start_time              timestamptz NOT NULL,
    end_time                timestamptz,
    action                  text NOT NULL,  -- NO_DATA, FULL, DIFFERENTIAL, REINITIALIZE, SKIP
    rows_inserted           bigint DEFAULT 0,
    rows_deleted            bigint DEFAULT 0,
    delta_row_count         bigint DEFAULT 0,
    merge_strategy_used     text,
    was_full_fallback       boolean NOT NULL DEFAULT false,
    error_message           text,
    status                  text NOT NULL,  -- RUNNING, COMPLETED, FAILED, SKIPPED
    initiated_by            text,  -- SCHEDULER, MANUAL, INITIAL, SELF_MONITOR
    freshness_deadline      timestamptz,
    tick_watermark_lsn      pg_lsn,
    fixpoint_iteration      int
);
CREATE INDEX idx_hist_pgt_ts ON pgtrickle.pgt_refresh_history (pgt_id, data_timestamp);
CREATE INDEX idx_hist_pgt_start ON pgtrickle.pgt_refresh_history (pgt_id, start_time);

-- One row per captured source; `columns` are the attribute numbers that its buffer holds.
CREATE TABLE pgtrickle.pgt_change_tracking (
    source_relid            oid PRIMARY KEY,
    slot_name               text NOT NULL,
    last_consumed_lsn       pg_lsn,
    tracked_by_pgt_ids      bigint[] NOT NULL,
    buffer_relid            oid NOT NULL,
    columns                 int2[] NOT NULL
);

CREATE TABLE pgtrickle.pgt_schema_version (
    version                 text PRIMARY KEY,
    applied_at              timestamptz NOT NULL DEFAULT now(),
    description             text
);

-- What is maintained, and how it goes, is for everybody to see, as pg_matviews is; contents have their own rights.
GRANT USAGE ON SCHEMA pgtrickle TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pgtrickle TO PUBLIC;

-- A dump carries what stream tables there were, by name. Everything else in this catalog goes by numbers, which another
-- database gives to other objects.
SELECT pg_catalog.pg_extension_config_dump('pgtrickle.pgt_stream_tables', '');
SELECT pg_catalog.pg_extension_config_dump('pgtrickle.pgt_stream_tables_pgt_id_seq', '');

CREATE FUNCTION pgtrickle._restored() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.oid = NEW.pgt_relid AND n.nspname = NEW.pgt_schema AND c.relname = NEW.pgt_name) THEN
        NEW.pgt_relid := NULL;
        NEW.status := 'SUSPENDED';
        NEW.is_populated := false;
        NEW.frontier := NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION pgtrickle._restored() IS 'takes the numbers of another database out of rows that come with a restored dump';
CREATE TRIGGER restored BEFORE INSERT ON pgtrickle.pgt_stream_tables FOR EACH ROW EXECUTE FUNCTION pgtrickle._restored();
ALTER TABLE pgtrickle.pgt_stream_tables ENABLE ALWAYS TRIGGER restored;
