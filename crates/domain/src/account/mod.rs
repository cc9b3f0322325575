//! The account behind agents: a login or a key at a provider, shared by every agent that uses it.
//!
//! A limit or a lost login is a fact about the account and not about the run that met it, so the account is parked and
//! with it everything that would start on it. When the time has come one run tries it; only when that one was answered do
//! the others follow, one after another. [`Account`] is all that is remembered, `moves` has what changes it, `said` what
//! the end of a run tells about it. Finding out which account an agent uses is the adapters', locking the row the store's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, RunId};
use crate::moment::Moment;
use crate::words;

mod moves;
pub mod said;

pub use moves::{Change, Ended, Notice};

words!(
    /// How an account stands, in a word.
    AccountState {
        /// Runs start on it.
        Open = "open",
        /// Nothing starts on it.
        Parked = "parked",
        /// One run tries it.
        Probing = "probing",
        /// It works again; who waited starts one after another.
        Resuming = "resuming",
    }
);

words!(
    /// Why an account is parked.
    ParkedFor {
        /// A limit of the provider is reached.
        Quota = "quota",
        /// Nobody is logged in.
        Login = "login",
        /// Runs failed one after another before the provider answered anything, in words that nobody knows.
        Failures = "failures",
        /// A person parked it.
        Person = "person",
    }
);

words!(
    /// A kind of failure that says nothing of the account by itself.
    Unclear {
        /// The provider is busy or down.
        Busy = "busy",
        /// The words are not known.
        Unknown = "unknown",
    }
);

/// So many failures of a kind park the account, within [`BREAKER_SPAN`].
pub const BREAKER_FAILURES: usize = 3;
pub const BREAKER_SPAN: Duration = Duration::from_secs(120);
/// How long it is parked where no time was named: each time twice as long, to an hour.
pub const PARKED_FOR: Duration = Duration::from_secs(300);
const LONGEST_PARK: Duration = Duration::from_secs(3600);
/// A provider that names a later reset was misread.
const LATEST_RESET: Duration = Duration::from_secs(32 * 86_400);
/// So many runs may be refused within [`BRAKE_SPAN`]; then it stays parked until the first of them is that long ago.
pub const BRAKE_REFUSALS: usize = 4;
pub const BRAKE_SPAN: Duration = Duration::from_secs(86_400);
/// A probe that was not refused for so long has passed: what it does may take hours, and the others wait.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same where nobody named a time: programs ask a busy provider again and again before they give up.
const PATIENCE_UNNAMED: Duration = Duration::from_secs(60);
/// Between two starts while the account is taken up again: two in a second.
pub const BETWEEN_STARTS: Duration = Duration::from_millis(500);
/// How long starts are spread.
pub const RESUMING_FOR: Duration = Duration::from_secs(30);

/// Everything that is remembered of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub standing: Standing,
    /// It is taken up again by itself when a limit is reset; else a person is asked.
    pub auto_resume: bool,
    /// More than one agent has used it.
    pub is_shared: bool,
    /// How often in a row it was parked without a named time.
    pub level: u32,
    /// When its last runs were refused since it last answered, oldest first, at most [`BRAKE_REFUSALS`].
    pub refusals: Vec<Moment>,
    /// Failures of the last two minutes that may come to something together.
    pub failures: Vec<Failure>,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Open,
    Parked(Park),
    Probing { park: Park, run: RunId, since: Moment },
    Resuming { next_start_at: Moment, until: Moment },
}

/// Why and until when an account is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Park {
    pub why: ParkedFor,
    pub since: Moment,
    /// `None`: until somebody does something.
    pub until: Option<Moment>,
    /// The provider named the time.
    pub is_named: bool,
    /// Somebody let it go, or logged in: one run tries it whatever the policy says.
    pub is_released: bool,
    /// A person was asked whether to go on.
    pub is_asked: bool,
}

/// A failure that may come to something together with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub at: Moment,
    pub kind: Unclear,
    pub agent: AgentId,
}

/// What a run that would start on the account is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It starts; nothing changes.
    Free,
    /// It starts, as the one that tries the account.
    Probe,
    /// It starts; the next one a moment later.
    InTurn,
}

/// Why nothing starts on the account now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub why: Waits,
    /// When it is over by itself, as far as that is known.
    pub until: Option<Moment>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    For(ParkedFor),
    /// The time is over, and a person is asked whether to go on.
    Asked,
    /// For the run that tries the account.
    Probe,
    /// For its turn.
    Turn,
}

impl Account {
    /// An account of which nothing is known yet.
    pub const fn open() -> Account {
        Account {
            standing: Standing::Open,
            auto_resume: true,
            is_shared: false,
            level: 0,
            refusals: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub const fn state(&self) -> AccountState {
        match self.standing {
            Standing::Open => AccountState::Open,
            Standing::Parked(_) => AccountState::Parked,
            Standing::Probing { .. } => AccountState::Probing,
            Standing::Resuming { .. } => AccountState::Resuming,
        }
    }

    /// Why it is parked, or was until a run began to try it.
    pub const fn park(&self) -> Option<&Park> {
        match &self.standing {
            Standing::Parked(park) | Standing::Probing { park, .. } => Some(park),
            Standing::Open | Standing::Resuming { .. } => None,
        }
    }

    /// Whether a run may start on it now.
    pub fn admits(&self, now: Moment) -> Result<Entry, Wait> {
        match &self.standing {
            Standing::Open => Ok(Entry::Free),
            Standing::Parked(park) => match park.until {
                Some(until) if until <= now && (self.auto_resume || park.is_released) => Ok(Entry::Probe),
                Some(until) if until <= now => Err(Wait { why: Waits::Asked, until: None }),
                until => Err(Wait { why: Waits::For(park.why), until }),
            },
            Standing::Probing { park, since, .. } => {
                Err(Wait { why: Waits::Probe, until: Some(since.plus(park.patience())) })
            }
            Standing::Resuming { next_start_at, until } if *next_start_at > now && *until > now => {
                Err(Wait { why: Waits::Turn, until: Some(*next_start_at) })
            }
            Standing::Resuming { .. } => Ok(Entry::InTurn),
        }
    }

    /// The next moment after this one at which time alone changes something: who waits may start, or it stands otherwise.
    /// What a tick has to do is not skipped.
    pub fn next_look(&self, after: Moment) -> Option<Moment> {
        match &self.standing {
            Standing::Open => None,
            Standing::Parked(park) => park.until.filter(|until| *until > after),
            Standing::Probing { park, since, .. } => Some(since.plus(park.patience())),
            Standing::Resuming { next_start_at, until } => {
                Some(if *next_start_at > after { *next_start_at } else { *until })
            }
        }
    }
}

impl Park {
    fn patience(&self) -> Duration {
        if self.is_named || self.why == ParkedFor::Login { PATIENCE } else { PATIENCE_UNNAMED }
    }
}

impl Wait {
    /// For people, what is waited for.
    pub fn words(self) -> String {
        let until = |what: &str| match self.until {
            Some(at) => format!("{what} until {}", at.iso()),
            None => what.to_owned(),
        };
        match self.why {
            Waits::For(ParkedFor::Quota) => until("waiting for quota"),
            Waits::For(ParkedFor::Failures) => {
                until("runs on this account fail for a reason nobody knows: waiting for quota")
            }
            Waits::For(ParkedFor::Login) if self.until.is_none() => "waiting for a login".to_owned(),
            Waits::For(ParkedFor::Login) => until("waiting for a login, which is tried again"),
            Waits::For(ParkedFor::Person) => until("somebody parked the account"),
            Waits::Asked => "the limit is over, and somebody is to say whether to go on".to_owned(),
            Waits::Probe => "one run tries whether the account works again".to_owned(),
            Waits::Turn => "the account works again, and its runs start one after another".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
