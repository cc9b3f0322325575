//! What the engine can be told. Read once, by the program; the rooms below get plain values.

use std::path::PathBuf;
use std::time::Duration;

use adapters::Host;

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data folder: runs and agent homes lie below it.
    pub data_dir: PathBuf,
    /// Names this installation in the store; made once per data folder.
    pub node_id: String,
    /// The version of the program.
    pub version: String,
    /// The program itself, for agents that are part of it.
    pub program: PathBuf,
    /// Where agents reach the API.
    pub api_url: String,
    /// What agents may see of the server's environment.
    pub host: Host,
    /// Processes at once (D22: memory / 512 MiB).
    pub max_runs: u32,
    /// Runs taken over at once after a start.
    pub recovery_width: usize,
    /// Runs that have been queued for longer are ended as expired; `None`: they wait for ever (D22).
    pub max_queue_age: Option<Duration>,
    /// How often each sweep looks by itself: what a lost ring costs.
    pub period: Duration,
    /// Finished runs are removed after this.
    pub keep_runs_for: Duration,
    /// Entries of the event log are removed after this.
    pub keep_events_for: Duration,
    /// Wakes that started nothing are removed after this; their idempotency keys live at least 24 h (D22).
    pub keep_idle_wakes_for: Duration,
    /// Archived logs are removed, oldest first, when they are larger than this together.
    pub keep_log_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        const DAY: Duration = Duration::from_secs(86_400);
        Settings {
            data_dir: PathBuf::new(),
            node_id: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            program: PathBuf::new(),
            api_url: "http://127.0.0.1:3100".to_owned(),
            host: Host::default(),
            max_runs: 16,
            recovery_width: 32,
            // What was asked for is done, however late: people are told why it waits.
            max_queue_age: None,
            // Rings come first; an idle server should not be seen to work.
            period: Duration::from_secs(5),
            // A quarter: long enough to look back at, short enough for a small disk.
            keep_runs_for: DAY * 90,
            // Cursors older than a fortnight are of clients that are gone.
            keep_events_for: DAY * 14,
            keep_idle_wakes_for: DAY * 7,
            keep_log_bytes: 20 << 30,
        }
    }
}
