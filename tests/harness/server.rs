//! A PostgreSQL server that lives as long as the value.

use crate::session::Session;
use crate::wait::wait_until;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The account that runs the server when the caller is root, whom PostgreSQL refuses. `scripts/setup` makes it.
const ACCOUNT: &str = "pg_trickle";
/// The database that every test's own is cloned from: the extension is installed in it.
const TEMPLATE: &str = "pgtrickle_template";
/// The superuser of the cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// What differs between the servers that tests ask for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Write through to disk; only a test that kills the server needs it.
    pub durable: bool,
    /// Load the extension at server start.
    pub preload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { durable: false, preload: true }
    }
}

/// A running cluster in a temporary directory, reachable through a socket in it.
///
/// The server is the child of a small shell that waits for its standard input to end. Whatever becomes of the test
/// process, the pipe closes with it and the server is stopped.
pub struct Server {
    directory: PathBuf,
    bin: PathBuf,
    identity: Option<(u32, u32)>,
    supervisor: Option<Child>,
    databases: AtomicU32,
}

impl Server {
    /// Makes a cluster, starts it and installs the extension in the template.
    pub fn start(options: Options) -> Server {
        let mut server = Server {
            directory: fresh_directory(),
            bin: pg_config("--bindir"),
            identity: account(),
            supervisor: None,
            databases: AtomicU32::new(0),
        };
        if let Some((uid, gid)) = server.identity {
            chown(&server.directory, Some(uid), Some(gid)).expect("the directory belongs to the server's account");
        }
        let data = server.data();
        server.tool("initdb", |initdb| {
            initdb.arg("--pgdata").arg(&data);
            initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
            initdb.args(["--username", SUPERUSER]);
        });
        fs::write(data.join("postgresql.auto.conf"), server.settings(options)).expect("settings are written");
        server.resume();
        let mut session = server.connect("postgres");
        session.run(&format!("CREATE DATABASE {TEMPLATE}"));
        // The scheduler would otherwise hold a connection to the template and work beside the tests.
        session.run(&format!("ALTER DATABASE {TEMPLATE} SET pg_trickle.enabled = off"));
        server.connect(TEMPLATE).run("CREATE EXTENSION pg_trickle");
        server
    }

    fn settings(&self, options: Options) -> String {
        let stage =
            std::env::var("PGTRICKLE_STAGE").expect("PGTRICKLE_STAGE names the directory made by scripts/stage");
        let flag = |on: bool| if on { "on" } else { "off" };
        format!(
            "listen_addresses = ''\n\
             unix_socket_directories = '{socket}'\n\
             dynamic_library_path = '{stage}/lib:$libdir'\n\
             extension_control_path = '{stage}/share:$system'\n\
             shared_preload_libraries = '{preload}'\n\
             fsync = {durable}\n\
             full_page_writes = {durable}\n\
             wal_level = logical\n\
             max_connections = 120\n\
             max_prepared_transactions = 8\n\
             max_worker_processes = 48\n\
             pg_trickle.max_dynamic_refresh_workers = 16\n\
             shared_buffers = '128MB'\n\
             log_line_prefix = '%m [%p] %d '\n\
             logging_collector = off\n",
            socket = self.directory.display(),
            preload = if options.preload { "pg_trickle" } else { "" },
            durable = flag(options.durable),
        )
    }

    /// Starts the cluster's server and waits until it answers.
    pub fn resume(&mut self) {
        assert!(self.supervisor.is_none(), "the server runs already");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("the log can be written");
        let mut shell = self.command(Path::new("/bin/sh"));
        shell.args(["-c", r#""$0" -D "$1" & read -r line; kill -INT $!; wait $!"#]);
        shell.arg(self.bin.join("postgres")).arg(self.data());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut supervisor = shell.spawn().expect("the server starts");
        wait_until("the server to accept connections", || {
            assert!(supervisor.try_wait().expect("the supervisor can be asked").is_none(), "{}", self.log());
            Session::try_connect(&self.directory, "postgres", SUPERUSER).is_ok()
        });
        self.supervisor = Some(supervisor);
    }

    /// Kills the server and all of its processes with SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        let pid = self.postmaster();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output().expect("ps runs").stdout;
        let children = String::from_utf8_lossy(&children).into_owned();
        // The postmaster first, so that it does not begin to recover from the death of the others.
        let status = Command::new("kill").arg("-KILL").arg(&pid).args(children.split_whitespace()).status();
        assert!(status.is_ok(), "kill runs");
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            supervisor.wait().expect("the supervisor ends");
        }
        wait_until("the killed processes to be gone", || {
            !std::iter::once(pid.as_str())
                .chain(children.split_whitespace())
                .any(|process| Path::new("/proc").join(process).join("fd").exists())
        });
    }

    fn postmaster(&self) -> String {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).expect("the server has a pid file");
        file.lines().next().expect("the pid file begins with the pid").to_string()
    }

    /// A new session of the superuser.
    pub fn connect(&self, database: &str) -> Session {
        self.connect_as(database, SUPERUSER)
    }

    /// A new session of `role`.
    pub fn connect_as(&self, database: &str, role: &str) -> Session {
        Session::try_connect(&self.directory, database, role).unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    /// Makes a database with the extension in it. The scheduler leaves it alone unless `scheduled`.
    pub fn create_database(&self, label: &str, scheduled: bool) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let label: String = label.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
        let name = format!("t{number}_{}", label.to_lowercase());
        let mut session = self.connect("postgres");
        // Nobody may come in before the setting is made.
        session.run(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} ALLOW_CONNECTIONS false"));
        if !scheduled {
            session.run(&format!("ALTER DATABASE {name} SET pg_trickle.enabled = off"));
        }
        session.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
        name
    }

    /// Drops a database of [`Server::create_database`], whoever is still connected to it.
    pub fn drop_database(&self, name: &str) {
        self.connect("postgres").run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    }

    /// The directory of the server's socket.
    pub fn socket(&self) -> &Path {
        &self.directory
    }

    /// Copies the database `from` into the database `to`, which has the extension and nothing else, as a dump does.
    pub fn dump_and_restore(&self, from: &str, to: &str) {
        let file = self.directory.join(format!("{from}.sql"));
        let connect = |command: &mut Command, database: &str| {
            command
                .arg("--host")
                .arg(&self.directory)
                .args(["--username", "postgres", "--dbname", database, "--file"])
                .arg(&file);
        };
        self.tool("pg_dump", |command| connect(command, from));
        self.tool("psql", |command| {
            command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]);
            connect(command, to);
        });
    }

    /// What the server has logged of processes that died, with the statements that they died in.
    pub fn crashes(&self) -> Vec<String> {
        let marks = ["was terminated by signal", "Failed process was running", "PANIC:", "TRAP:"];
        let told = |line: &&str| marks.iter().any(|mark| line.contains(mark));
        self.log().lines().filter(told).map(String::from).collect()
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // With RUST_BACKTRACE a backtrace would become the DETAIL of every error that passes through Rust.
        command.current_dir(&self.directory).env("LC_ALL", "C").env("RUST_BACKTRACE", "1");
        if let Some((uid, gid)) = self.identity {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn tool(&self, name: &str, arguments: impl FnOnce(&mut Command)) {
        let mut command = self.command(&self.bin.join(name));
        arguments(&mut command);
        let output = command.output().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        assert!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the server and says whether all went well: it stopped when told to, and no process of it died.
    pub fn finish(&mut self) -> bool {
        let stopped = self.stop();
        if !stopped {
            eprintln!("the server did not stop when it was told to");
        }
        let crashes = self.crashes();
        for line in &crashes {
            eprintln!("the server reports a crash: {line}");
        }
        stopped && crashes.is_empty()
    }

    /// Stops the server. False when it would not stop by itself and had to be killed.
    fn stop(&mut self) -> bool {
        let Some(mut supervisor) = self.supervisor.take() else { return true };
        drop(supervisor.stdin.take());
        let mut ended = || matches!(supervisor.try_wait(), Ok(Some(_)));
        let in_time =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_until("shutdown", &mut ended))).is_ok();
        if !in_time {
            let killed = Command::new("kill").args(["-QUIT", &self.postmaster()]).status();
            assert!(killed.is_ok(), "kill runs");
            supervisor.wait().expect("the supervisor ends");
        }
        in_time
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{} stays behind: {error}", self.directory.display());
        }
    }
}

fn fresh_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Short, because a socket's path may have no more than 107 bytes.
    let directory = std::env::temp_dir().join(format!("pgt-{}-{number}", std::process::id()));
    fs::create_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}

fn pg_config(what: &str) -> PathBuf {
    let program = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".into());
    let output = Command::new(&program).arg(what).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Who runs the server, when it cannot be the caller.
fn account() -> Option<(u32, u32)> {
    let caller = fs::metadata("/proc/self").expect("/proc is mounted").uid();
    if caller != 0 {
        return None;
    }
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, ACCOUNT]).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("the account exists; run scripts/setup")
    };
    Some((id("-u"), id("-g")))
}
