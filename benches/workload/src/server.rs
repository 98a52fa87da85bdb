//! A PostgreSQL cluster of one's own: `initdb` in a temporary directory, a Unix socket and no port, the extension
//! found in a staging directory instead of the server's own. Nothing of an installed server is touched.
//!
//! The server must not outlive the program that asked for it, however that program ends. So a small shell stands
//! between: it holds the read end of a pipe whose write end is ours, and stops the server when the pipe closes.

use anyhow::{Context, Result, bail};
use postgres::{Client, Config, NoTls};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; `scripts/setup` makes this account for that case.
const ACCOUNT: &str = "pg_trickle";
const START_LIMIT: Duration = Duration::from_secs(60);

/// `$1 …` is the server's command line. The watcher outlives a failed server until our end of the pipe closes, and
/// then its `kill` finds nothing to do.
const SUPERVISOR: &str =
    r#"exec 3<&0; "$@" </dev/null & server=$!; (read -r _ <&3; kill -INT $server 2>/dev/null) & wait $server"#;

/// How to run a server: where its programs are, where extensions were staged, which settings to add.
#[derive(Debug, Clone)]
pub struct Options {
    bin_dir: PathBuf,
    stages: Vec<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Options {
    /// Options for the server that `pg_config` belongs to.
    pub fn new(pg_config: &Path) -> Result<Options> {
        let options = Options { bin_dir: ask(pg_config, "--bindir")?, stages: Vec::new(), settings: Vec::new() };
        // Durable enough for what is measured here, and the same for everybody who is compared.
        Ok(options
            .setting("listen_addresses", "")
            .setting("synchronous_commit", "off")
            .setting("max_connections", "50")
            .setting("max_worker_processes", "32")
            .setting("max_wal_size", "4GB")
            .setting("checkpoint_timeout", "15min")
            .setting("log_min_messages", "warning")
            .setting("log_line_prefix", "%m [%p] %b "))
    }

    /// Makes the extensions in `stage` available: `share/extension` has their control files and scripts, `lib` their
    /// libraries, as `scripts/stage` lays them out.
    pub fn stage(mut self, stage: &Path) -> Result<Options> {
        let stage = fs::canonicalize(stage).with_context(|| format!("nothing is staged in {}", stage.display()))?;
        self.stages.push(stage);
        Ok(self)
    }

    /// Sets a configuration parameter of the server; the last value given counts.
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The stages' `part` and then what the server itself has.
    fn search_path(&self, part: &str, own: &str) -> String {
        let staged = self.stages.iter().map(|stage| stage.join(part).display().to_string());
        staged.chain([own.to_owned()]).collect::<Vec<_>>().join(":")
    }
}

/// A running cluster; dropping it stops the server and deletes the data.
#[derive(Debug)]
pub struct Server {
    supervisor: Child,
    pub(crate) directory: TempDir,
    pub(crate) bin_dir: PathBuf,
}

impl Server {
    /// Makes a cluster and waits until it answers.
    pub fn start(options: &Options) -> Result<Server> {
        let owner = Owner::find()?;
        let directory = tempfile::Builder::new().prefix("pgtrickle-").tempdir()?;
        owner.take(directory.path())?;
        let data = directory.path().join("data");
        let output = owner
            .command(&options.bin_dir.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data)
            .output()?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let log = fs::File::create(directory.path().join("log"))?;
        let mut command = owner.command(Path::new("sh"));
        command.args(["-c", SUPERVISOR, "sh"]).arg(options.bin_dir.join("postgres")).arg("-D").arg(&data);
        command.arg("-k").arg(directory.path());
        for (name, value) in &options.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.arg("-c").arg(format!("extension_control_path={}", options.search_path("share", "$system")));
        command.arg("-c").arg(format!("dynamic_library_path={}", options.search_path("lib", "$libdir")));
        // A process group of its own: Ctrl-C in the terminal is for us, and we stop the server in order.
        let supervisor = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Server { supervisor, directory, bin_dir: options.bin_dir.clone() };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let refusal = match self.connect("postgres") {
                Ok(_) => return Ok(()),
                Err(refusal) => refusal,
            };
            if let Some(status) = self.supervisor.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log()?);
            }
            if Instant::now() > deadline {
                bail!("the server does not answer ({refusal:#}):\n{}", self.log()?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A new connection as the superuser.
    pub fn connect(&self, database: &str) -> Result<Client> {
        let mut config = Config::new();
        config
            .host_path(self.directory.path())
            .user("postgres")
            .dbname(database)
            .application_name("pgtrickle workload");
        config.connect(NoTls).with_context(|| format!("cannot connect to database {database}"))
    }

    /// The command that opens a psql session in `database`.
    pub fn psql(&self, database: &str) -> String {
        let psql = self.bin_dir.join("psql");
        format!("{} -h {} -U postgres {database}", psql.display(), self.directory.path().display())
    }

    /// What the server has written to its log so far.
    pub fn log(&self) -> Result<String> {
        let mut text = String::new();
        fs::File::open(self.directory.path().join("log"))?.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        if let Err(error) = self.supervisor.wait() {
            eprintln!("cannot wait for the server: {error}");
        }
    }
}

/// The operating system account that runs the server: the caller, or [`ACCOUNT`] when the caller is root.
struct Owner {
    account: Option<(u32, u32)>,
}

impl Owner {
    fn find() -> Result<Owner> {
        // The owner of our own entry in /proc would be Linux only; a fresh file tells it everywhere.
        if tempfile::NamedTempFile::new()?.as_file().metadata()?.uid() != 0 {
            return Ok(Owner { account: None });
        }
        let id = |flag| -> Result<u32> {
            let output = Command::new("id").args([flag, ACCOUNT]).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            text.trim().parse().with_context(|| format!("account {ACCOUNT} is missing; run scripts/setup"))
        };
        Ok(Owner { account: Some((id("-u")?, id("-g")?)) })
    }

    fn take(&self, directory: &Path) -> Result<()> {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = self.account {
            chown(directory, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn ask(pg_config: &Path, question: &str) -> Result<PathBuf> {
    let output = Command::new(pg_config)
        .arg(question)
        .output()
        .with_context(|| format!("cannot run {}", pg_config.display()))?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
