-- Functions in C: what the triggers call, and the image of a row.

CREATE FUNCTION pgtrickle.capture_statement() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_capture_statement';
COMMENT ON FUNCTION pgtrickle.capture_statement() IS 'writes what a statement did to the change buffer of the source';

CREATE FUNCTION pgtrickle.capture_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_capture_row';
COMMENT ON FUNCTION pgtrickle.capture_row() IS 'writes what became of one row to the change buffer of the source';

CREATE FUNCTION pgtrickle.capture_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_capture_truncate';
COMMENT ON FUNCTION pgtrickle.capture_truncate() IS 'writes the marker of a TRUNCATE to the change buffer of the source';

CREATE FUNCTION pgtrickle.pgt_dml_guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'pgt_dml_guard';
COMMENT ON FUNCTION pgtrickle.pgt_dml_guard() IS 'refuses direct writes to a stream table';

-- A trigger that calls one of these is made by pg_trickle alone.
REVOKE ALL ON FUNCTION pgtrickle.capture_statement(), pgtrickle.capture_row(), pgtrickle.capture_truncate(),
    pgtrickle.pgt_dml_guard() FROM PUBLIC;

CREATE FUNCTION pgtrickle.row_hash(row_value record) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_row_hash';
COMMENT ON FUNCTION pgtrickle.row_hash(record) IS '64-bit hash of the row image; rows with one image have one hash';

CREATE FUNCTION pgtrickle.row_image(row_value record) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_row_image';
COMMENT ON FUNCTION pgtrickle.row_image(record) IS 'bytes that tell a row from every row that prints or computes differently';

-- It is called by statements of a refresh, as the owner of the stream table. STABLE, so that it is called once in each step.
CREATE FUNCTION pgtrickle._recursion_step() RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pgt_recursion_step';
COMMENT ON FUNCTION pgtrickle._recursion_step() IS 'counts the steps of a recursion; an error beyond pg_trickle.max_recursion_depth';
