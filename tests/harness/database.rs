//! A test's own database: its sessions, its stream tables and the oracle over them.

use crate::oracle::{Comparison, compare, has_equality};
use crate::server::Server;
use crate::session::{Failure, Session};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

struct StreamTable {
    name: String,
    query: String,
    comparisons: Vec<Vec<Comparison>>,
    /// The newest history row when the table was made or last refreshed in full on purpose.
    history: i64,
}

/// A database that lives as long as the value. It acts as its own first session.
pub struct Database {
    server: Arc<Server>,
    name: String,
    session: Session,
    tables: Vec<StreamTable>,
}

impl Deref for Database {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Database {
    /// Makes a database; the scheduler works in it only if `scheduled`.
    pub fn create(server: &Arc<Server>, label: &str, scheduled: bool) -> Database {
        let name = server.create_database(label, scheduled);
        let session = server.connect(&name);
        Database { server: Arc::clone(server), name, session, tables: Vec::new() }
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server that holds it.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Another session of the superuser.
    pub fn connect(&self) -> Session {
        self.server.connect(&self.name)
    }

    /// Another session, of `role`.
    pub fn connect_as(&self, role: &str) -> Session {
        self.server.connect_as(&self.name, role)
    }

    /// Creates a stream table in DIFFERENTIAL mode, to be compared by value and by what is printed.
    #[track_caller]
    pub fn stream(&mut self, name: &str, query: &str) {
        self.stream_with(name, query, "schedule => '1h', refresh_mode => 'DIFFERENTIAL'");
        self.track(name, query);
    }

    /// Creates a stream table in DIFFERENTIAL mode, to be compared by value alone: some of its values stand for a
    /// group of equal ones that print differently.
    #[track_caller]
    pub fn stream_by_value(&mut self, name: &str, query: &str) {
        self.stream(name, query);
        let table = self.tables.last_mut().expect("just added");
        table.comparisons.truncate(1);
    }

    /// Has statements change the stream table `name` and its states, few rows too: triggers for statements want them.
    #[track_caller]
    pub fn change_by_statement(&mut self, name: &str) {
        self.session.run(&format!(
            "CREATE OR REPLACE FUNCTION public.by_statement() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             DO $$ DECLARE r oid; BEGIN
             FOR r IN SELECT pgt_relid FROM pgtrickle.pgt_stream_tables WHERE pgt_relid = '{name}'::regclass
                 UNION ALL SELECT unnest(state_relids) FROM pgtrickle.pgt_programs JOIN pgtrickle.pgt_stream_tables USING (pgt_id)
                 WHERE pgt_relid = '{name}'::regclass
             LOOP EXECUTE format('CREATE TRIGGER by_statement AFTER INSERT OR UPDATE OR DELETE ON %s
                 FOR EACH STATEMENT EXECUTE FUNCTION public.by_statement()', r::regclass); END LOOP; END $$"
        ));
    }

    /// Creates a stream table with the arguments given; the oracle does not know about it.
    #[track_caller]
    pub fn stream_with(&mut self, name: &str, query: &str, arguments: &str) {
        self.session.run(&create(name, query, arguments));
    }

    /// Lets the oracle watch the stream table `name`, made elsewhere.
    #[track_caller]
    pub fn track(&mut self, name: &str, query: &str) {
        let types = self.session.lines(&format!(
            "SELECT format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ));
        let by_value = types.iter().map(|ty| if has_equality(ty) { Comparison::Value } else { Comparison::Text });
        let comparisons = vec![by_value.collect(), vec![Comparison::Text; types.len()]];
        self.add(name, query, comparisons);
    }

    /// Lets the oracle watch the stream table `name`, compared by value alone.
    #[track_caller]
    pub fn track_by_value(&mut self, name: &str, query: &str) {
        self.track(name, query);
        self.tables.last_mut().expect("just added").comparisons.truncate(1);
    }

    /// Compares the watched stream table `name` by what is printed from here on.
    pub fn track_as_text(&mut self, name: &str) {
        for table in self.tables.iter_mut().filter(|table| table.name == name) {
            table.comparisons.truncate(1);
            table.comparisons.iter_mut().flatten().for_each(|comparison| *comparison = Comparison::Text);
        }
    }

    /// Lets the oracle watch the stream table `name`, its columns compared as given.
    pub fn track_columns(&mut self, name: &str, query: &str, columns: Vec<Comparison>) {
        self.add(name, query, vec![columns]);
    }

    fn add(&mut self, name: &str, query: &str, comparisons: Vec<Vec<Comparison>>) {
        let history = self.newest_history();
        let table = StreamTable { name: name.to_string(), query: query.to_string(), comparisons, history };
        self.tables.push(table);
    }

    fn newest_history(&mut self) -> i64 {
        self.session.number("SELECT coalesce(max(refresh_id), 0) FROM pgtrickle.pgt_refresh_history")
    }

    /// Forgets the watched stream table `name`.
    pub fn untrack(&mut self, name: &str) {
        self.tables.retain(|table| table.name != name);
    }

    /// Refreshes one stream table.
    #[track_caller]
    pub fn refresh(&mut self, name: &str) {
        self.session.run(&refresh(name));
    }

    /// Refreshes every watched stream table, in the order of their creation.
    #[track_caller]
    pub fn refresh_all(&mut self) {
        for i in 0..self.tables.len() {
            let statement = refresh(&self.tables[i].name);
            self.session.run(&statement);
        }
    }

    /// Every watched stream table equals its query now.
    #[track_caller]
    pub fn check(&mut self) {
        if let Some(difference) = self.difference() {
            panic!("{difference}");
        }
    }

    /// Refreshes and compares, inside whatever transaction the session is in.
    #[track_caller]
    pub fn check_after_refresh(&mut self) {
        self.refresh_all();
        self.check();
    }

    /// What the oracle has to say, if anything.
    #[track_caller]
    pub fn difference(&mut self) -> Option<String> {
        (0..self.tables.len()).find_map(|position| {
            self.difference_at(position)
                .unwrap_or_else(|failure| panic!("{failure:?}\nin: {}", self.tables[position].query))
        })
    }

    /// What the oracle has to say about the watched stream table `name`; an error when its query fails.
    pub fn difference_of(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let position = self.tables.iter().position(|table| table.name == name).expect("the table is watched");
        self.difference_at(position)
    }

    fn difference_at(&mut self, position: usize) -> Result<Option<String>, Failure> {
        let table = &self.tables[position];
        for columns in &table.comparisons {
            if let Some(difference) = compare(&mut self.session, &table.name, &table.query, columns)? {
                let show = |rows: &[String]| format!("{} rows {:?}", rows.len(), &rows[..rows.len().min(8)]);
                return Ok(Some(format!(
                    "stream table {} differs\n missing: {}\n extra: {}\n query: {}",
                    table.name,
                    show(&difference.missing),
                    show(&difference.extra),
                    table.query
                )));
            }
        }
        Ok(None)
    }

    /// Applies one change (one transaction per string), refreshes, compares; no refresh may have been a full one.
    #[track_caller]
    pub fn cycle(&mut self, transactions: &[&str]) {
        for transaction in transactions {
            self.session.run(transaction);
        }
        self.refresh_all();
        self.check();
        if let Some(fallback) = self.fallback() {
            panic!("{fallback}");
        }
    }

    /// Like [`Database::cycle`] for a change that calls for recomputation: a TRUNCATE.
    #[track_caller]
    pub fn cycle_in_full(&mut self, transactions: &[&str]) {
        for transaction in transactions {
            self.session.run(transaction);
        }
        self.refresh_all();
        self.check();
        self.accept_full();
    }

    /// From here on no refresh may be a full one; earlier ones were expected.
    pub fn accept_full(&mut self) {
        let newest = self.newest_history();
        for table in &mut self.tables {
            table.history = newest;
        }
    }

    /// A watched stream table that was refreshed in full although a delta was demanded.
    pub fn fallback(&mut self) -> Option<String> {
        (0..self.tables.len()).find_map(|position| self.fallback_at(position))
    }

    /// Says so if the watched stream table `name` was refreshed in full.
    pub fn fallback_of(&mut self, name: &str) -> Option<String> {
        let position = self.tables.iter().position(|table| table.name == name).expect("the table is watched");
        self.fallback_at(position)
    }

    fn fallback_at(&mut self, position: usize) -> Option<String> {
        let table = &self.tables[position];
        let full = self.session.lines(&format!(
            "SELECT history.action FROM pgtrickle.pgt_refresh_history AS history \
             JOIN pgtrickle.pgt_stream_tables AS st USING (pgt_id) \
             WHERE st.pgt_relid = '{}'::regclass AND history.refresh_id > {} \
             AND (history.action NOT IN ('DIFFERENTIAL', 'NO_DATA') OR history.was_full_fallback)",
            table.name, table.history
        ));
        (!full.is_empty()).then(|| format!("stream table {} was refreshed in full: {}", table.name, table.query))
    }

    /// Everything that a failed call must leave as it was: objects, triggers, the extension's catalog.
    pub fn fingerprint(&mut self) -> Vec<String> {
        self.session.lines(
            "SELECT 'relation', oid::text, relname, relnamespace::regnamespace::text, relowner::text FROM pg_class \
                 WHERE oid >= 16384 \
             UNION ALL SELECT 'trigger', oid::text, tgname, tgrelid::text, tgenabled::text FROM pg_trigger \
             UNION ALL SELECT 'function', oid::text, proname, '', '' FROM pg_proc WHERE oid >= 16384 \
             UNION ALL SELECT 'namespace', oid::text, nspname, nspacl::text, '' FROM pg_namespace \
             UNION ALL SELECT 'stream table', pgt_id::text, pgt_name, status, refresh_mode || coalesce(schedule, '') \
                 FROM pgtrickle.pgt_stream_tables \
             UNION ALL SELECT 'dependency', pgt_id::text, source_relid::text, '', '' FROM pgtrickle.pgt_dependencies \
             UNION ALL SELECT 'program', pgt_id::text, '', '', '' FROM pgtrickle.pgt_programs \
             UNION ALL SELECT 'tracking', source_relid::text, buffer_relid::text, columns::text, tracked_by_pgt_ids::text \
                 FROM pgtrickle.pgt_change_tracking \
             ORDER BY 1, 2, 3",
        )
    }

    /// The server's log lines about this database.
    pub fn log(&self) -> String {
        let mark = format!(" {} ", self.name);
        self.server.log().lines().filter(|line| line.contains(&mark)).map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A failed test may leave a prepared transaction, which would keep the database.
        let mut session = self.server.connect(&self.name);
        for gid in session.lines("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()") {
            session.run(&format!("ROLLBACK PREPARED '{gid}'"));
        }
        drop(session);
        self.server.drop_database(&self.name);
    }
}

/// The call that creates a stream table.
pub fn create(name: &str, query: &str, arguments: &str) -> String {
    format!("SELECT pgtrickle.create_stream_table('{}', $query${query}$query$, {arguments})", name.replace('\'', "''"))
}

/// The call that refreshes a stream table.
pub fn refresh(name: &str) -> String {
    format!("SELECT pgtrickle.refresh_stream_table('{}')", name.replace('\'', "''"))
}
