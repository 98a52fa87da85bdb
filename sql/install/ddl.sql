-- What a change of a source's definition means for the stream tables that read it.
--
-- A rewrite (ALTER COLUMN … TYPE … USING) changes rows without a statement on them: who reads the column recomputes. A new body of a view,
-- or rows that come in with an inheritance child, would change what the query means: refused while a stream table reads it. Who calls
-- a function that is replaced recomputes, and who reads values of a type that is altered. What a query reads cannot be dropped without the stream table: PostgreSQL's dependencies see to it.
--
-- A stream table itself has the columns of its query and the rows that its refreshes write: no rule, parent or child changes these.

CREATE FUNCTION pgtrickle._on_table_rewrite() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_on_table_rewrite';
CREATE FUNCTION pgtrickle._on_alter_table() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_on_alter_table';
COMMENT ON FUNCTION pgtrickle._on_alter_table() IS 'refuses alterations of a source whose effect on its readers nobody would notice';

COMMENT ON FUNCTION pgtrickle._on_table_rewrite() IS 'has the readers of a rewritten column recompute';

CREATE FUNCTION pgtrickle._on_ddl_start() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_on_ddl_start';
COMMENT ON FUNCTION pgtrickle._on_ddl_start() IS 'takes the rows of a partition or child away from a source before they can be read no more';

-- Partitions and inheritance children bring rows, and take them along, without a statement on them.

CREATE FUNCTION pgtrickle._on_ddl_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command record;
    reader text;
BEGIN
    FOR command IN SELECT c.objid, c.command_tag FROM pg_event_trigger_ddl_commands() c
                   WHERE c.command_tag IN ('CREATE VIEW', 'CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE')
                     AND c.classid = 'pg_class'::regclass
                   UNION ALL
                   -- The query of a view is its rule for SELECT, and can be replaced as a rule.
                   SELECT r.ev_class, CASE r.ev_type WHEN '1' THEN 'CREATE VIEW' ELSE c.command_tag END
                   FROM pg_event_trigger_ddl_commands() c JOIN pg_rewrite r ON r.oid = c.objid
                   WHERE c.command_tag = 'CREATE RULE' AND c.classid = 'pg_rewrite'::regclass
    LOOP
        IF command.command_tag = 'CREATE RULE' THEN
            PERFORM pgtrickle._refuse_redefinition(command.objid, 'CREATE RULE');
            CONTINUE;
        END IF;
        IF command.command_tag = 'ALTER TABLE' AND EXISTS (SELECT FROM pgtrickle.pgt_stream_tables s WHERE s.pgt_relid = command.objid) THEN
            PERFORM pgtrickle._stream_table_altered(command.objid);
        END IF;
        IF command.command_tag <> 'CREATE VIEW' THEN
            PERFORM pgtrickle._refuse_redefinition(s.pgt_relid, CASE s.pgt_relid WHEN i.inhparent THEN 'INHERITS' ELSE 'ATTACH PARTITION' END)
            FROM pg_inherits i JOIN pgtrickle.pgt_stream_tables s ON s.pgt_relid IN (i.inhrelid, i.inhparent)
            WHERE command.objid IN (i.inhrelid, i.inhparent);
            IF EXISTS (SELECT FROM pg_inherits i WHERE command.objid IN (i.inhrelid, i.inhparent))
               OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = command.objid AND t.tgname LIKE 'pg\_trickle\_cdc\_%') THEN
                PERFORM pgtrickle._family_changed(command.objid);
            END IF;
            CONTINUE;
        END IF;
        SELECT format('%I.%I', s.pgt_schema, s.pgt_name) INTO reader
        FROM pgtrickle.pgt_dependencies d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_id = d.pgt_id
        WHERE d.source_relid = command.objid
        LIMIT 1;
        IF reader IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist',
                MESSAGE = format('cannot replace view %s because stream table %s reads it', command.objid::regclass, reader),
                HINT = 'Drop the stream table, replace the view, and create the stream table again.';
        END IF;
    END LOOP;
    FOR command IN SELECT DISTINCT c.objid FROM pg_event_trigger_ddl_commands() c
                   WHERE c.classid = 'pg_proc'::regclass AND c.command_tag ~ '^(CREATE|ALTER) ' ORDER BY c.objid
    LOOP
        PERFORM pgtrickle._function_changed(command.objid);
    END LOOP;
    -- Values of a type that a query reads: what tables and composite types are altered to is told by the alterations.
    FOR command IN SELECT c.objid FROM pg_event_trigger_ddl_commands() c
                   WHERE c.classid = 'pg_class'::regclass
                     AND c.command_tag IN ('CREATE VIEW', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE')
    LOOP
        PERFORM pgtrickle._rows_changed(command.objid);
    END LOOP;
    FOR command IN SELECT DISTINCT coalesce(r.reltype, c.objid) AS objid
                   FROM pg_event_trigger_ddl_commands() c LEFT JOIN pg_class r ON c.classid = 'pg_class'::regclass AND r.oid = c.objid
                   WHERE c.command_tag IN ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER TABLE') AND (c.classid = 'pg_type'::regclass OR r.reltype <> 0)
    LOOP
        PERFORM pgtrickle._type_altered(command.objid);
    END LOOP;
    FOR command IN SELECT c.objid FROM pg_event_trigger_ddl_commands() c
                   WHERE c.classid = 'pg_class'::regclass AND c.command_tag IN ('ALTER VIEW', 'ALTER TABLE') LOOP
        PERFORM pgtrickle._view_altered(command.objid) FROM pg_class r WHERE r.oid = command.objid AND r.relkind = 'v';
    END LOOP;
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c
               WHERE c.command_tag IN ('ALTER SCHEMA', 'ALTER OPERATOR', 'ALTER COLLATION', 'ALTER EXTENSION') OR c.command_tag ^@ 'ALTER TEXT SEARCH ') THEN
        PERFORM pgtrickle._names_changed();
    END IF;
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE c.command_tag ^@ 'ALTER TEXT SEARCH ') THEN
        PERFORM pgtrickle._text_search_changed();
    END IF;
    FOR command IN SELECT c.objid FROM pg_event_trigger_ddl_commands() c WHERE c.command_tag = 'REFRESH MATERIALIZED VIEW' LOOP
        PERFORM pgtrickle._matview_refreshed(command.objid);
    END LOOP;
    -- CREATE OR REPLACE TRIGGER needs no more than the TRIGGER privilege.
    FOR command IN SELECT t.tgname AS objid FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid JOIN pg_proc p ON p.oid = t.tgfoid
                   WHERE c.classid = 'pg_trigger'::regclass AND c.command_tag = 'CREATE TRIGGER' AND t.tgname ~ '^pg_trickle_cdc_[a-z]+_[0-9]+$'
                     AND NOT (p.pronamespace = 'pgtrickle'::regnamespace AND p.proname ~ '^capture_')
    LOOP
        RAISE EXCEPTION USING ERRCODE = 'reserved_name', MESSAGE = format('trigger name "%s" is reserved', command.objid),
            DETAIL = 'pg_trickle captures the changes of the table by a trigger of this name.';
    END LOOP;
    FOR command IN SELECT t.tgname AS objid FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid JOIN pg_proc p ON p.oid = t.tgfoid
                   WHERE c.classid = 'pg_trigger'::regclass AND c.command_tag = 'CREATE TRIGGER' AND t.tgname IN ('pgt_dml_guard', 'pgt_truncate_guard')
                     AND NOT (p.pronamespace = 'pgtrickle'::regnamespace AND p.proname = 'pgt_dml_guard')
                     AND EXISTS (SELECT FROM pgtrickle.pgt_stream_tables s WHERE s.pgt_relid = t.tgrelid)
    LOOP
        RAISE EXCEPTION USING ERRCODE = 'reserved_name', MESSAGE = format('trigger name "%s" is reserved', command.objid),
            DETAIL = 'pg_trickle refuses direct writes to the stream table by a trigger of this name.';
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgtrickle._on_ddl_end() IS 'refuses changes of a source that would change what a stream table means, and follows its partitions and children, and changed functions';

CREATE FUNCTION pgtrickle._on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source oid;
    dropped oid;
    capture text;
BEGIN
    FOR capture IN
        SELECT d.address_names[3] FROM pg_event_trigger_dropped_objects() d
        WHERE d.object_type = 'trigger' AND d.address_names[3] ~ '^pg_trickle_cdc_[a-z]+_[0-9]+$'
          AND NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() t
                          WHERE t.classid = 'pg_class'::regclass AND t.objsubid = 0 AND t.address_names[1:2] = d.address_names[1:2])
    LOOP
        PERFORM pgtrickle._capture_altered(capture);
    END LOOP;
    FOR dropped, capture IN
        SELECT s.pgt_relid, d.address_names[3] FROM pg_event_trigger_dropped_objects() d JOIN pgtrickle.pgt_stream_tables s
            ON s.pgt_relid = to_regclass(format('%I.%I', d.address_names[1], d.address_names[2]))
        WHERE d.object_type = 'trigger' AND d.address_names[3] IN ('pgt_dml_guard', 'pgt_truncate_guard')
    LOOP
        PERFORM pgtrickle._guard_altered(dropped, capture);
    END LOOP;
    FOR dropped IN
        SELECT d.objid FROM pg_event_trigger_dropped_objects() d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_relid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
    LOOP
        PERFORM pgtrickle._stream_table_dropped(dropped);
    END LOOP;
    -- An attribute went, perhaps with its type.
    FOR dropped IN
        SELECT DISTINCT d.objid FROM pg_event_trigger_dropped_objects() d JOIN pg_class r ON r.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid > 0
    LOOP
        PERFORM pgtrickle._rows_changed(dropped);
    END LOOP;
    -- What a table captured for goes with the table, and says of which source it was a member.
    FOR source, dropped IN
        SELECT DISTINCT substring(d.address_names[3] FROM '[0-9]+$')::oid, t.objid
        FROM pg_event_trigger_dropped_objects() d JOIN pg_event_trigger_dropped_objects() t
            ON t.classid = 'pg_class'::regclass AND t.objsubid = 0 AND t.address_names[1:2] = d.address_names[1:2]
        WHERE d.object_type = 'trigger' AND d.address_names[3] ~ '^pg_trickle_cdc_[a-z]+_[0-9]+$'
    LOOP
        PERFORM pgtrickle._member_dropped(source, dropped);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgtrickle._on_drop() IS 'clears up after stream tables that were dropped as tables, and tells the readers of a source that lost a partition or a child';

REVOKE ALL ON FUNCTION pgtrickle._family_changed(oid), pgtrickle._member_dropped(oid, oid), pgtrickle._function_changed(oid),
    pgtrickle._rows_changed(oid), pgtrickle._type_altered(oid), pgtrickle._view_altered(oid), pgtrickle._names_changed(),
    pgtrickle._text_search_changed(),
    pgtrickle._stream_table_dropped(oid), pgtrickle._matview_refreshed(oid),
    pgtrickle._capture_altered(text), pgtrickle._guard_altered(oid, text), pgtrickle._stream_table_altered(oid), pgtrickle._refuse_redefinition(oid, text) FROM PUBLIC;

CREATE EVENT TRIGGER pg_trickle_rewrite_tracker ON table_rewrite EXECUTE FUNCTION pgtrickle._on_table_rewrite();
CREATE EVENT TRIGGER pg_trickle_ddl_tracker ON ddl_command_end EXECUTE FUNCTION pgtrickle._on_ddl_end();
CREATE EVENT TRIGGER pg_trickle_drop_tracker ON sql_drop EXECUTE FUNCTION pgtrickle._on_drop();
-- A column of a table can be renamed by the commands for other relations, too; a trigger by its own.
CREATE EVENT TRIGGER pg_trickle_alter_tracker ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER TRIGGER')
    EXECUTE FUNCTION pgtrickle._on_alter_table();
CREATE EVENT TRIGGER pg_trickle_departure_tracker ON ddl_command_start WHEN TAG IN ('DROP TABLE', 'ALTER TABLE')
    EXECUTE FUNCTION pgtrickle._on_ddl_start();

-- Also in sessions that replay somebody else's changes: what they alter is altered.
ALTER EVENT TRIGGER pg_trickle_rewrite_tracker ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_trickle_ddl_tracker ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_trickle_drop_tracker ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_trickle_alter_tracker ENABLE ALWAYS;
ALTER EVENT TRIGGER pg_trickle_departure_tracker ENABLE ALWAYS;
