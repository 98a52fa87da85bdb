//! Runs tests side by side over one server and sums up.

use crate::database::Database;
use crate::server::{Options, Server};
use libtest_mimic::{Arguments, Failed, Trial};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A named test.
#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub run: fn(&mut Database),
    /// The scheduler works in the test's database.
    pub scheduled: bool,
}

/// Lists test functions of a module.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$($crate::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
            scheduled: false,
        }),*];
    };
    (scheduled: $($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$($crate::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
            scheduled: true,
        }),*];
    };
}

thread_local! {
    /// What the panic of a test that runs in this thread said; `None` in a thread that runs no test.
    static CAUSE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a test's panic says for the report instead of printing it.
fn capture_panics() {
    panic::set_hook(Box::new(|panic| {
        let captured = CAUSE.with_borrow_mut(|cause| cause.as_mut().map(|cause| *cause = panic.to_string()));
        if captured.is_none() {
            eprintln!("{panic}");
        }
    }));
}

/// Starts a server, runs the tests that the command line selects, two at a time, and ends the process.
pub fn run(tests: impl IntoIterator<Item = Test>) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    if arguments.list {
        libtest_mimic::run(&arguments, tests.into_iter().map(|test| trial(test, None)).collect()).exit();
    }
    capture_panics();
    let server = Arc::new(Server::start(Options::default()));
    let trials = tests.into_iter().map(|test| trial(test, Some(Arc::clone(&server)))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut server = Arc::into_inner(server).expect("every test has ended");
    let healthy = server.finish();
    drop(server);
    if !healthy {
        std::process::exit(101);
    }
    conclusion.exit()
}

fn trial(test: Test, server: Option<Arc<Server>>) -> Trial {
    let name = test.name.split_once("::").map_or(test.name, |(_, name)| name);
    Trial::test(name.to_string(), move || {
        let server = server.ok_or("no server in a listing")?;
        isolated(&server, test.name, test.scheduled, test.run)
    })
}

/// Runs `body` in a database of its own; a panic comes back as a failure that carries the server's log.
pub fn isolated(
    server: &Arc<Server>,
    label: &str,
    scheduled: bool,
    body: impl FnOnce(&mut Database),
) -> Result<(), Failed> {
    let label = label.rsplit("::").next().unwrap_or(label);
    let mut database = Database::create(server, label, scheduled);
    CAUSE.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut database)));
    let cause = CAUSE.take().unwrap_or_default();
    outcome.map_err(|_| {
        let log = database.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        Failed::from(format!("{cause}\n--- server log of the test's database ---\n{tail}"))
    })
}
