//! One connection, with the conveniences that tests want.

use crate::wait::wait_until;
use postgres::error::{DbError, ErrorPosition};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A row as text; NULL is `None`.
pub type Row = Vec<Option<String>>;

/// An error that the server reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    /// Where in a query that a function was given the error is, in characters from 1, and that query.
    pub place: Option<Box<(u32, String)>>,
}

impl From<&DbError> for Failure {
    fn from(error: &DbError) -> Self {
        Failure {
            sqlstate: error.code().code().to_string(),
            message: error.message().to_string(),
            detail: error.detail().unwrap_or_default().to_string(),
            hint: error.hint().unwrap_or_default().to_string(),
            place: match error.position() {
                Some(ErrorPosition::Internal { position, query }) => Some(Box::new((*position, query.clone()))),
                _ => None,
            },
        }
    }
}

/// A lost connection is an error without SQLSTATE.
fn failure(error: postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(reported) => Failure::from(reported),
        None => Failure {
            sqlstate: String::new(),
            message: error.to_string(),
            detail: String::new(),
            hint: String::new(),
            place: None,
        },
    }
}

/// A connection to the server.
pub struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<Failure>>>,
}

impl Session {
    pub(crate) fn try_connect(socket: &Path, database: &str, role: &str) -> Result<Session, postgres::Error> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let client = Config::new()
            .host_path(socket)
            .dbname(database)
            .user(role)
            .notice_callback(move |notice| sink.lock().expect("no panic holds it").push(Failure::from(&notice)))
            .connect(NoTls)?;
        Ok(Session { client, notices })
    }

    /// Runs statements; more than one in `sql` are one transaction, as the protocol has it.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        if let Err(failure) = self.attempt(sql) {
            panic!("{failure:?}\nin: {sql}");
        }
    }

    /// Runs statements and returns the server's error, if any. A lost connection is an error without SQLSTATE.
    pub fn attempt(&mut self, sql: &str) -> Result<(), Failure> {
        self.try_rows(sql).map(|_| ())
    }

    /// Runs `sql`, which must fail.
    #[track_caller]
    pub fn fails(&mut self, sql: &str) -> Failure {
        match self.attempt(sql) {
            Ok(()) => panic!("no error from: {sql}"),
            Err(failure) => failure,
        }
    }

    fn messages(&mut self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Failure> {
        self.client.simple_query(sql).map_err(failure)
    }

    /// The rows of a query, or the server's error.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let messages = self.messages(sql)?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_string)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The rows of a query.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Row> {
        self.try_rows(sql).unwrap_or_else(|failure| panic!("{failure:?}\nin: {sql}"))
    }

    /// The rows of a query, one text per row, its values joined by `|` and NULL shown as nothing.
    #[track_caller]
    pub fn lines(&mut self, sql: &str) -> Vec<String> {
        let line = |row: Row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
        self.rows(sql).into_iter().map(line).collect()
    }

    /// The single value of a query.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> Option<String> {
        let mut rows = self.rows(sql);
        assert_eq!((rows.len(), rows.first().map(Vec::len)), (1, Some(1)), "one value expected from: {sql}");
        rows.remove(0).remove(0)
    }

    /// The single value of a query, which is not NULL.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        self.value(sql).unwrap_or_else(|| panic!("NULL from: {sql}"))
    }

    /// The single value of a query, a number.
    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        self.text(sql).parse().unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The single value of a query, a truth value.
    #[track_caller]
    pub fn holds(&mut self, sql: &str) -> bool {
        self.text(sql) == "t"
    }

    /// Sends `rows` through COPY … FROM STDIN.
    #[track_caller]
    pub fn copy(&mut self, statement: &str, rows: &str) {
        let mut writer = self.client.copy_in(statement).unwrap_or_else(|error| panic!("{error}: {statement}"));
        std::io::Write::write_all(&mut writer, rows.as_bytes()).expect("the rows are sent");
        writer.finish().unwrap_or_else(|error| panic!("{error}: {statement}"));
    }

    /// Sends `rows` through COPY … FROM STDIN, or returns the error.
    pub fn try_copy(&mut self, statement: &str, rows: &str) -> Result<(), Failure> {
        let mut writer = self.client.copy_in(statement).map_err(failure)?;
        std::io::Write::write_all(&mut writer, rows.as_bytes()).expect("the rows are sent");
        writer.finish().map(|_| ()).map_err(failure)
    }

    /// The names of the columns that `sql` yields.
    pub fn try_columns(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let messages = self.messages(sql)?;
        let columns = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => {
                Some(columns.iter().map(|column| column.name().to_string()).collect())
            }
            _ => None,
        });
        Ok(columns.unwrap_or_default())
    }

    /// What the server said since the last call, in order: notices, warnings, infos.
    pub fn notices(&mut self) -> Vec<Failure> {
        std::mem::take(&mut *self.notices.lock().expect("no panic holds it"))
    }

    /// The process that serves this session.
    pub fn pid(&mut self) -> i64 {
        self.number("SELECT pg_backend_pid()")
    }

    /// Runs `sql` in a thread of its own.
    pub fn start(mut self, sql: &str) -> Running {
        let pid = self.pid();
        let sql = sql.to_string();
        let thread = thread::spawn(move || {
            let result = self.attempt(&sql);
            (self, result)
        });
        Running { pid, thread }
    }
}

/// A statement that runs in another thread.
pub struct Running {
    pid: i64,
    thread: JoinHandle<(Session, Result<(), Failure>)>,
}

impl Running {
    /// Returns when the statement waits for a lock.
    #[track_caller]
    pub fn wait_blocked(&self, observer: &mut Session) {
        let waits = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock')",
            self.pid
        );
        wait_until("the statement to wait for a lock", || {
            assert!(!self.thread.is_finished(), "the statement ended without waiting for a lock");
            observer.holds(&waits)
        });
    }

    /// The process that runs the statement.
    pub fn pid(&self) -> i64 {
        self.pid
    }

    /// Whether the statement has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the statement.
    #[track_caller]
    pub fn join(self) -> (Session, Result<(), Failure>) {
        wait_until("the statement to end", || self.thread.is_finished());
        self.thread.join().expect("the thread does not panic")
    }

    /// Waits for the end of the statement, which must succeed.
    #[track_caller]
    pub fn finish(self) -> Session {
        let (session, result) = self.join();
        if let Err(failure) = result {
            panic!("{failure:?}");
        }
        session
    }
}
