-- Records, and arrays of them, as state tables hold them: SEARCH and CYCLE make columns of such.

CREATE TYPE pgtrickle.kept_record;
CREATE FUNCTION pgtrickle._kept_in(cstring) RETURNS pgtrickle.kept_record
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_in';
CREATE FUNCTION pgtrickle._kept_out(pgtrickle.kept_record) RETURNS cstring
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_out';
CREATE TYPE pgtrickle.kept_record (INPUT = pgtrickle._kept_in, OUTPUT = pgtrickle._kept_out, STORAGE = extended);
COMMENT ON TYPE pgtrickle.kept_record IS 'a record, or an array of records, in a state table';

CREATE FUNCTION pgtrickle._keep_record(record) RETURNS pgtrickle.kept_record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_keep_record';
CREATE FUNCTION pgtrickle._keep_records(record[]) RETURNS pgtrickle.kept_record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_keep_records';
CREATE FUNCTION pgtrickle._kept_record(pgtrickle.kept_record) RETURNS record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_record';
CREATE FUNCTION pgtrickle._kept_records(pgtrickle.kept_record) RETURNS record[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_records';
CREATE FUNCTION pgtrickle._kept_append(pgtrickle.kept_record, record[]) RETURNS pgtrickle.kept_record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_append';
CREATE FUNCTION pgtrickle._kept_field(pgtrickle.kept_record, integer, anyelement) RETURNS anyelement
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_field';

CREATE FUNCTION pgtrickle._kept_eq(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_eq';
CREATE FUNCTION pgtrickle._kept_ne(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_ne';
CREATE FUNCTION pgtrickle._kept_lt(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_lt';
CREATE FUNCTION pgtrickle._kept_le(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_le';
CREATE FUNCTION pgtrickle._kept_gt(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_gt';
CREATE FUNCTION pgtrickle._kept_ge(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_ge';
CREATE FUNCTION pgtrickle._kept_cmp(pgtrickle.kept_record, pgtrickle.kept_record) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_cmp';
CREATE FUNCTION pgtrickle._kept_hash(pgtrickle.kept_record) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_hash';
CREATE FUNCTION pgtrickle._kept_hash_extended(pgtrickle.kept_record, bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pgt_kept_hash_extended';

CREATE OPERATOR pgtrickle.= (FUNCTION = pgtrickle._kept_eq, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.=), NEGATOR = OPERATOR(pgtrickle.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR pgtrickle.<> (FUNCTION = pgtrickle._kept_ne, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.<>), NEGATOR = OPERATOR(pgtrickle.=), RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR pgtrickle.< (FUNCTION = pgtrickle._kept_lt, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.>), NEGATOR = OPERATOR(pgtrickle.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR pgtrickle.<= (FUNCTION = pgtrickle._kept_le, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.>=), NEGATOR = OPERATOR(pgtrickle.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR pgtrickle.> (FUNCTION = pgtrickle._kept_gt, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.<), NEGATOR = OPERATOR(pgtrickle.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR pgtrickle.>= (FUNCTION = pgtrickle._kept_ge, LEFTARG = pgtrickle.kept_record, RIGHTARG = pgtrickle.kept_record,
    COMMUTATOR = OPERATOR(pgtrickle.<=), NEGATOR = OPERATOR(pgtrickle.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE OPERATOR CLASS pgtrickle.kept_record_ops DEFAULT FOR TYPE pgtrickle.kept_record USING btree AS
    OPERATOR 1 pgtrickle.<, OPERATOR 2 pgtrickle.<=, OPERATOR 3 pgtrickle.=, OPERATOR 4 pgtrickle.>=, OPERATOR 5 pgtrickle.>,
    FUNCTION 1 pgtrickle._kept_cmp(pgtrickle.kept_record, pgtrickle.kept_record);
CREATE OPERATOR CLASS pgtrickle.kept_record_ops DEFAULT FOR TYPE pgtrickle.kept_record USING hash AS
    OPERATOR 1 pgtrickle.=,
    FUNCTION 1 pgtrickle._kept_hash(pgtrickle.kept_record),
    FUNCTION 2 pgtrickle._kept_hash_extended(pgtrickle.kept_record, bigint);
