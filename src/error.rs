//! The one error table: a variant is a condition; its SQLSTATE, DETAIL and HINT stand beside it.

use pgrx::prelude::PgSqlErrorCode as State;

/// Result of everything that can fail below the SQL boundary.
pub type Result<T> = std::result::Result<T, Error>;

/// A condition that a user can meet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("stream table not found: {0}")]
    NotFound(String),
    #[error("stream table already exists: {0}")]
    AlreadyExists(String),
    #[error("relation \"{0}\" already exists")]
    NameTaken(String),
    #[error("schema \"{0}\" does not exist")]
    SchemaNotFound(String),
    #[error("invalid argument: {message}")]
    InvalidArgument { message: String, hint: String },
    #[error("query parse error: {message}")]
    QueryParse { message: String, detail: String, hint: String },
    /// `construct` names what the query uses, `reason` says why it cannot be maintained incrementally.
    #[error("unsupported operator for DIFFERENTIAL mode: {construct}")]
    Unsupported { construct: String, reason: String },
    /// A construct that no mode can maintain.
    #[error("{construct} cannot be used in a stream table")]
    Refused { construct: String, reason: String, hint: String },
    /// An argument value that the SQL surface names and this version does not act on.
    #[error("{argument} => {value} is not available")]
    NotAvailable { argument: String, value: String },
    #[error("permission denied: must be owner of stream table {0}")]
    NotOwner(String),
    #[error("cannot change stream table \"{0}\" directly")]
    DirectWrite(String),
    #[error("{action} cannot be performed on stream table {name}")]
    FixedDefinition { name: String, action: String },
    #[error("row-level security applies to \"{0}\"")]
    RowSecurity(String),
    #[error("cycle detected in dependency graph: {0}")]
    Cycle(String),
    #[error("query too complex: {0}")]
    TooComplex(String),
    /// Recomputation can maintain the query all the same.
    #[error("query too complex: {0}")]
    TooLarge(String),
    #[error("WITH RECURSIVE has not ended after {0} steps")]
    RecursionTooDeep(i32),
    #[error("cannot drop stream table {name} because other stream tables read it")]
    HasDependents { name: String, dependents: String },
    #[error("stream table {name} is {status}")]
    NotActive { name: String, status: String },
    #[error("upstream table dropped: {0}")]
    SourceDropped(String),
    #[error("upstream table schema changed: {0}")]
    SourceChanged(String),
    /// The change that was asked for would make `reader` wrong, for the `reason`.
    #[error("cannot alter {source_name} this way because stream table {reader} reads it")]
    SourceInUse { source_name: String, reader: String, reason: String },
    /// A trigger of pg_trickle that is to be altered or dropped; `purpose` is what it does for `reader`.
    #[error("cannot alter or drop trigger \"{trigger}\" on {table} because stream table {reader} needs it")]
    TriggerInUse { trigger: String, table: String, reader: String, purpose: String },
    /// The name of a stream table.
    #[error("no schema has been selected for stream table \"{0}\"")]
    NoSchema(String),
    /// Text that is cast to a date.
    #[error("the text \"{0}\" names a moment that moves on")]
    MovingText(String),
    #[error("permission denied for table {0}")]
    Unreadable(String),
    /// Recomputation can maintain the query all the same.
    #[error("permission denied to capture the changes of table {table}")]
    CaptureDenied { table: String, role: String },
    #[error("the changes do not fit the contents of stream table {0}")]
    Mismatch(String),
    #[error("stream table {0} is being refreshed by another session")]
    Busy(String),
    #[error("cannot refresh while a statement of this session is changing \"{0}\"")]
    SourceBusy(String),
    /// As PostgreSQL says it.
    #[error("could not serialize access due to concurrent update")]
    ConcurrentUpdate,
    /// Of a refresh in a transaction that has one snapshot for all of its statements.
    #[error("could not serialize access because a partition or child of a source was attached or detached")]
    MembersChanged,
    #[error("cannot refresh a stream table during recovery")]
    InRecovery,
    #[error("pg_trickle is not in shared_preload_libraries")]
    NotPreloaded,
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The SQLSTATE; see the table in `docs/SQL_REFERENCE.md`.
    pub fn sqlstate(&self) -> State {
        match self {
            Error::NotFound(_) | Error::SourceDropped(_) => State::ERRCODE_UNDEFINED_TABLE,
            Error::AlreadyExists(_) | Error::NameTaken(_) => State::ERRCODE_DUPLICATE_TABLE,
            Error::SchemaNotFound(_) | Error::NoSchema(_) => State::ERRCODE_INVALID_SCHEMA_NAME,
            Error::InvalidArgument { .. } | Error::HasDependents { .. } => State::ERRCODE_INVALID_PARAMETER_VALUE,
            Error::QueryParse { .. } => State::ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION,
            Error::Unsupported { .. }
            | Error::Refused { .. }
            | Error::NotAvailable { .. }
            | Error::MovingText(_)
            | Error::FixedDefinition { .. }
            | Error::SourceInUse { .. }
            | Error::TriggerInUse { .. } => State::ERRCODE_FEATURE_NOT_SUPPORTED,
            Error::NotOwner(_) | Error::RowSecurity(_) | Error::Unreadable(_) | Error::CaptureDenied { .. } => {
                State::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Error::DirectWrite(_) | Error::NotActive { .. } | Error::NotPreloaded | Error::Mismatch(_) => {
                State::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Error::Cycle(_) => State::ERRCODE_INVALID_OBJECT_DEFINITION,
            Error::TooComplex(_) | Error::TooLarge(_) | Error::RecursionTooDeep(_) => {
                State::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Error::SourceChanged(_) => State::ERRCODE_INVALID_TABLE_DEFINITION,
            Error::Busy(_) | Error::SourceBusy(_) => State::ERRCODE_OBJECT_IN_USE,
            Error::ConcurrentUpdate | Error::MembersChanged => State::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Error::InRecovery => State::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Error::Internal(_) => State::ERRCODE_INTERNAL_ERROR,
        }
    }

    /// The query has no delta, and recomputation can maintain it.
    pub fn allows_recomputation(&self) -> bool {
        matches!(self, Error::Unsupported { .. } | Error::TooLarge(_) | Error::CaptureDenied { .. })
    }

    /// Why the query has no delta, in a line.
    pub fn refusal(&self) -> String {
        match self {
            Error::Unsupported { construct, reason } => format!("{construct}: {reason}"),
            other => other.to_string(),
        }
    }

    /// DETAIL, where there is more to say than the message does.
    pub fn detail(&self) -> Option<String> {
        match self {
            Error::Unsupported { reason, .. } | Error::Refused { reason, .. } => Some(reason.clone()),
            Error::SourceInUse { reason, .. } => Some(reason.clone()),
            Error::TriggerInUse { purpose, .. } => Some(purpose.clone()),
            Error::NoSchema(_) => Some("The name has no schema, and none of search_path exists.".into()),
            Error::MovingText(_) => Some("The date that a stream table made of it would be wrong tomorrow.".into()),
            Error::QueryParse { detail, .. } if !detail.is_empty() => Some(detail.clone()),
            Error::HasDependents { dependents, .. } => Some(format!("Read by: {dependents}.")),
            Error::DirectWrite(_) => Some("Its contents are computed from its defining query.".into()),
            Error::FixedDefinition { .. } => Some("Its columns and rows follow from its defining query.".into()),
            Error::RowSecurity(_) => Some("The owner of the stream table would see only some rows of it.".into()),
            Error::CaptureDenied { .. } => {
                Some("Triggers capture them, which takes the TRIGGER privilege on the table.".into())
            }
            Error::Unreadable(_) => Some("The owner of the stream table may not read all of it.".into()),
            Error::RecursionTooDeep(_) => {
                Some("The rows that it walks through may form a cycle, which UNION ALL follows for ever.".into())
            }
            Error::Mismatch(_) => {
                Some("A key of a source was dropped, or the contents were changed by other means.".into())
            }
            _ => None,
        }
    }

    /// HINT: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NotFound(_) => "pgtrickle.pgt_status() lists the stream tables.".into(),
            Error::AlreadyExists(_) => {
                "Use create_stream_table_if_not_exists(), or drop it first with drop_stream_table().".into()
            }
            Error::NameTaken(_) => "Choose another name, or drop that relation first.".into(),
            Error::SchemaNotFound(_) => "Create the schema first; stream tables are made in existing schemas.".into(),
            Error::InvalidArgument { hint, .. } | Error::QueryParse { hint, .. } | Error::Refused { hint, .. } => {
                if hint.is_empty() {
                    return None;
                }
                hint.clone()
            }
            Error::Unsupported { .. } => {
                "Use refresh_mode => 'AUTO' or 'FULL' to maintain this query by recomputation.".into()
            }
            Error::NotAvailable { argument, .. } if argument == "query" => {
                "Drop the stream table and create it again with the new query.".into()
            }
            Error::NotAvailable { argument, .. } => format!("Leave {argument} out."),
            Error::NotOwner(_) => "Ask its owner, or become a member of the owning role.".into(),
            Error::DirectWrite(_) => "Change the tables that it reads; drop_stream_table() removes it.".into(),
            Error::FixedDefinition { .. } => "Drop the stream table and create it again with another query.".into(),
            Error::RowSecurity(_) => "Create the stream table as a role that the policies do not apply to.".into(),
            Error::Cycle(_) => "A stream table cannot read itself, directly or through others.".into(),
            Error::TooComplex(_) => "Split the query into several stream tables.".into(),
            Error::TooLarge(_) => {
                "Use refresh_mode => 'AUTO' or 'FULL', or split the query into several stream tables.".into()
            }
            Error::RecursionTooDeep(_) => {
                "Use UNION, a CYCLE clause or a condition on the depth, or raise pg_trickle.max_recursion_depth.".into()
            }
            Error::HasDependents { .. } => "Use cascade => true to drop them too.".into(),
            Error::SourceInUse { .. } => {
                "Drop the stream table, alter its source, and create the stream table again.".into()
            }
            Error::TriggerInUse { .. } => "It goes when the last stream table that needs it is dropped.".into(),
            Error::NoSchema(_) => "Write schema.name, or set search_path to a schema that exists.".into(),
            Error::MovingText(_) => "Store a date instead, or exclude such text by a condition in WHERE.".into(),
            Error::NotActive { .. } => "Call pgtrickle.resume_stream_table() first.".into(),
            Error::SourceDropped(_) => "Drop the stream table, or create it anew over existing tables.".into(),
            Error::SourceChanged(_) => "Drop the stream table and create it again.".into(),
            Error::CaptureDenied { table, role } => {
                format!("GRANT TRIGGER ON {table} TO {role}, or use refresh_mode => 'AUTO' or 'FULL'.")
            }
            Error::Unreadable(_) => "Grant the owner SELECT, and exempt it from row-level security.".into(),
            Error::Mismatch(_) => "Drop the stream table and create it again.".into(),
            Error::Busy(_) => "Try again when it is done.".into(),
            Error::SourceBusy(_) => {
                "Refresh after the statement, not from a trigger or a function that runs inside it.".into()
            }
            Error::ConcurrentUpdate | Error::MembersChanged => "The transaction might succeed if retried.".into(),
            Error::InRecovery => "Refresh on the primary server.".into(),
            Error::NotPreloaded => "Add pg_trickle to shared_preload_libraries and restart the server.".into(),
            Error::Internal(_) => "This is a bug in pg_trickle; please report it with the defining query.".into(),
        })
    }
}
