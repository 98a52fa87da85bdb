//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take before the test fails; generous, because it only matters when something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns as soon as `condition` holds; panics, naming `what`, when it does not come true.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}
