-- What a change of a source's definition means for the stream tables that read it.
--
-- A rewrite (ALTER COLUMN … TYPE … USING) changes rows without a statement on them: who reads the column recomputes. A new body of a view,
-- or rows that come in with an inheritance child, would change what the query means: refused while a stream table reads it.

CREATE FUNCTION pgtrickle._on_table_rewrite() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_on_table_rewrite';
CREATE FUNCTION pgtrickle._on_alter_table() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_on_alter_table';
COMMENT ON FUNCTION pgtrickle._on_alter_table() IS 'refuses alterations of a source whose effect on its readers nobody would notice';

COMMENT ON FUNCTION pgtrickle._on_table_rewrite() IS 'has the readers of a rewritten column recompute';

CREATE FUNCTION pgtrickle._on_ddl_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command record;
    reader text;
BEGIN
    FOR command IN SELECT c.objid, c.command_tag, c.object_identity FROM pg_event_trigger_ddl_commands() c
                   WHERE c.command_tag IN ('CREATE VIEW', 'CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE')
                     AND c.classid = 'pg_class'::regclass
    LOOP
        SELECT format('%I.%I', s.pgt_schema, s.pgt_name) INTO reader
        FROM pgtrickle.pgt_dependencies d JOIN pgtrickle.pgt_stream_tables s ON s.pgt_id = d.pgt_id
        WHERE CASE WHEN command.command_tag = 'CREATE VIEW' THEN d.source_relid = command.objid
                   ELSE d.source_type IN ('TABLE', 'STREAM_TABLE')
                        AND d.source_relid IN (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = command.objid) END
        LIMIT 1;
        CONTINUE WHEN reader IS NULL;
        IF command.command_tag = 'CREATE VIEW' THEN
            RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist',
                MESSAGE = format('cannot replace view %s because stream table %s reads it', command.object_identity, reader),
                HINT = 'Drop the stream table, replace the view, and create the stream table again.';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = format('cannot add %s to a table that stream table %s reads', command.object_identity, reader),
            DETAIL = 'Rows of inheritance children are not captured.',
            HINT = 'Drop the stream table first; in AUTO or FULL mode it can be created again over the table and its children.';
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgtrickle._on_ddl_end() IS 'refuses changes of a source that would change what a stream table means';

CREATE EVENT TRIGGER pg_trickle_rewrite_tracker ON table_rewrite EXECUTE FUNCTION pgtrickle._on_table_rewrite();
CREATE EVENT TRIGGER pg_trickle_ddl_tracker ON ddl_command_end EXECUTE FUNCTION pgtrickle._on_ddl_end();
CREATE EVENT TRIGGER pg_trickle_alter_tracker ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION pgtrickle._on_alter_table();
