//! What the engine can be told. Read once, by the program; the rooms below get plain values.

use std::path::PathBuf;
use std::time::Duration;

use adapters::Host;
use domain::webhook::place::Reach;

use crate::environments::Drivers;

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
    /// The socket on which the API knows nobody without a key: agents on other machines come in by it.
    pub agent_door: Option<PathBuf>,
    /// The kinds of environments that runs can work in.
    pub drivers: Drivers,
    /// What agents may see of the server's environment.
    pub host: Host,
    /// The key that secrets are sealed with, where it does not lie in the data folder.
    pub secrets_key_file: Option<PathBuf>,
    /// Plain values under sensitive names are refused when an agent or a project is saved.
    pub strict_secrets: bool,
    /// Processes at once (D22: memory / 512 MiB).
    pub max_runs: u32,
    /// Automation runs at work at once.
    pub max_automation_runs: u32,
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
    /// Worktrees are closed this long after they were used last, when their issue is over.
    pub keep_workspaces_for: Duration,
    /// What became of the slots of schedules is forgotten after this.
    pub keep_slots_for: Duration,
    /// Archived logs are removed, oldest first, when they are larger than this together.
    pub keep_log_bytes: u64,
    /// Which machines events may be sent to.
    pub webhook_reach: Reach,
    /// Whoever takes longer to answer a webhook has not answered.
    pub webhook_limit: Duration,
    /// Deliveries that are over are removed after this.
    pub keep_deliveries_for: Duration,
    /// Bodies of requests from outside are removed after this.
    pub keep_webhook_bodies_for: Duration,
    /// What became of these requests is removed after this; until then a repeated one is recognised.
    pub keep_receipts_for: Duration,
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
            agent_door: None,
            drivers: Drivers::default(),
            host: Host::default(),
            secrets_key_file: None,
            strict_secrets: false,
            max_runs: 16,
            max_automation_runs: 8,
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
            // Long enough to look at what came out, or to reopen the issue where it was left.
            keep_workspaces_for: DAY * 7,
            // A year, to see what happened at the last change of the clock, and at the same date.
            keep_slots_for: DAY * 365,
            keep_log_bytes: 20 << 30,
            webhook_reach: Reach::Public,
            // What the convention of webhooks recommends: long enough for a slow answer, short enough for many.
            webhook_limit: Duration::from_secs(15),
            // Somebody who was away can still send again what was missed.
            keep_deliveries_for: DAY * 30,
            // They may hold what is personal, and are needed only to find out what went wrong.
            keep_webhook_bodies_for: DAY * 30,
            keep_receipts_for: DAY * 365,
        }
    }
}

impl Settings {
    /// Where the key is that secrets are sealed with.
    pub fn secrets_key_file(&self) -> PathBuf {
        self.secrets_key_file.clone().unwrap_or_else(|| self.data_dir.join(crate::KEY_FILE))
    }
}
