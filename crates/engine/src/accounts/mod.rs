//! The accounts that agents use: which one it is, whether a run may start on it, and what becomes of it.
//!
//! What is decided is `domain::account`, which credential an agent uses the adapters' to say. Here a run passes the
//! account's row on its way in ([`enter`]) and out ([`ended`]), each in the transaction of its claim or settlement. The row
//! is locked behind the run and before the counters of budgets (D15). What is told comes last, as the counter of events
//! does.

mod people;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use adapters::Host;
use domain::account::said::Said;
use domain::account::{Account, Change, Ended, Notice, Park, ParkedFor, Standing, Wait};
use domain::ids::{CompanyId, RunId};
use domain::moment::Moment;
use domain::recovery::{self, InboxKind};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use store::accounts::{self, Login, StoredAccount};
use store::activity::Activity;
use store::agents::Agent;
use store::inbox::{self, InboxItem};
use store::runs::Run;
use store::{Store, StoreError, Tx, instance_settings};

use crate::claims::Claimant;
use crate::digest::hex;
use crate::{Dice, activity, signals};

pub use people::{AccountPatch, AccountView};

/// Where the key of the fingerprints is kept: the same for all nodes of an installation.
const KEY_SETTING: &str = "accountKey";

/// What tells accounts apart on this node.
#[derive(Clone)]
pub(crate) struct Keyring {
    key: Arc<str>,
    host: Arc<Host>,
    node: Arc<str>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

/// The account of an agent, as its configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub fingerprint: String,
    described: adapters::Account,
}

impl Keyring {
    /// The key that this installation has, made once.
    pub(crate) async fn load(
        store: &Store,
        dice: &dyn Dice,
        (host, node): (&Host, &str),
        now: Moment,
    ) -> Result<Keyring, StoreError> {
        let fresh = format!("{}{}", hex(&dice.bytes()), hex(&dice.bytes()));
        let kept = store.write(move |tx| {
            let fresh = fresh.clone();
            Box::pin(async move {
                instance_settings::claim(tx, KEY_SETTING, &fresh, now).await?;
                instance_settings::get(tx, KEY_SETTING).await
            })
        });
        let key = kept.await?.and_then(|kept| kept.as_str().map(str::to_owned)).unwrap_or_default();
        Ok(Keyring { key: key.into(), host: Arc::new(host.clone()), node: node.into() })
    }

    /// The account of an agent; `None`: it has none that is known.
    pub(crate) fn of(&self, agent: &Agent) -> Option<Credential> {
        let adapter = adapters::find(&agent.adapter_type)?;
        let described = adapter.account(&agent.adapter_config, &self.host)?;
        Some(Credential { fingerprint: described.fingerprint(self.key.as_bytes()), described })
    }

    /// Where the login of an account lies, and how it looks now.
    pub(crate) fn look_at_login(&self, credential: &Credential) -> Login {
        let files: Vec<String> =
            credential.described.login_files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        let mark = (!files.is_empty()).then(|| mark(&files));
        Login { files, node: Some(self.node.to_string()), mark }
    }
}

/// The mark of a file that is not there.
const GONE: &str = "-";

/// How files look from the outside: they are never opened, so that no copy of a login is ever made.
pub(crate) fn mark(files: &[String]) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let look = |file: &String| match std::fs::metadata(Path::new(file)) {
        Ok(found) => {
            format!("{}.{:09}:{}:{}", found.mtime(), found.mtime_nsec(), found.ino(), found.size())
        }
        Err(_) => GONE.to_owned(),
    };
    files.iter().map(look).collect::<Vec<_>>().join(" ")
}

/// Somebody logged in between two looks: a file that is there now looks otherwise than before. One that is gone is a login
/// that was taken away, and tries nothing.
pub(crate) fn is_new_login(before: &str, now: &str) -> bool {
    let mut before = before.split(' ');
    now.split(' ').any(|file| {
        let was = before.next();
        file != GONE && was != Some(file)
    })
}

/// One of the files was written after this moment.
fn is_newer(files: &[String], than: Moment) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let written = |file: &String| {
        let found = std::fs::metadata(Path::new(file)).ok()?;
        Some(found.mtime().saturating_mul(1_000_000).saturating_add(found.mtime_nsec() / 1000))
    };
    files.iter().filter_map(written).any(|micros| micros > than.micros())
}

/// Why nothing of an agent's may start now because of its account; read without a lock, so only a hint.
pub(crate) async fn wait_of(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    agent: &Agent,
    now: Moment,
) -> Result<Option<Wait>, StoreError> {
    Ok(waits(tx, keyring, std::slice::from_ref(agent), now).await?.pop().flatten())
}

/// The same for many agents, in their order.
pub(crate) async fn waits(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    agents: &[Agent],
    now: Moment,
) -> Result<Vec<Option<Wait>>, StoreError> {
    let of_agents = standing(tx, keyring, agents).await?;
    Ok(of_agents.into_iter().map(|stored| stored?.account.admits(now).err()).collect())
}

/// The accounts of agents, in their order; `None` for one that has none, or whose account was never used.
pub(crate) async fn standing(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    agents: &[Agent],
) -> Result<Vec<Option<StoredAccount>>, StoreError> {
    let credentials: Vec<Option<Credential>> = agents.iter().map(|agent| keyring.of(agent)).collect();
    let mut fingerprints: Vec<String> =
        credentials.iter().flatten().map(|credential| credential.fingerprint.clone()).collect();
    fingerprints.sort();
    fingerprints.dedup();
    if fingerprints.is_empty() {
        return Ok(agents.iter().map(|_| None).collect());
    }
    let found = accounts::with_fingerprints(tx, &fingerprints).await?;
    let of = |(agent, credential): (&Agent, &Option<Credential>)| {
        let credential = credential.as_ref()?;
        let is_its = |stored: &&StoredAccount| {
            stored.company_id == agent.company_id && stored.fingerprint == credential.fingerprint
        };
        found.iter().find(is_its).cloned()
    };
    Ok(agents.iter().zip(&credentials).map(of).collect())
}

/// A run on its way in: its account, locked, as it will be once the run has started.
#[derive(Debug)]
pub(crate) struct Entrance {
    stored: StoredAccount,
    change: Option<Change>,
    /// The row is to be written.
    is_new: bool,
}

/// Whether a run may start on its agent's account, whose row is locked then; the run is locked. `Ok(None)`: the agent has
/// none. Nothing is written: the run may still find no budget.
pub(crate) async fn enter(
    tx: &mut Tx<'_>,
    (run, agent): (&Run, &Agent),
    claimant: &Claimant,
    now: Moment,
) -> Result<Result<Option<Entrance>, Wait>, StoreError> {
    let Some(credential) = claimant.accounts.of(agent) else { return Ok(Ok(None)) };
    let mut is_new = false;
    let found = accounts::lock_by_fingerprint(tx, &agent.company_id, &credential.fingerprint).await?;
    let mut stored = match found {
        Some(stored) => stored,
        None => {
            let fresh = fresh(&credential, run.id.as_str(), agent, now);
            // Of two at once one is first; the other waits for it, and takes the account as that one left it.
            let is_first = accounts::insert(tx, &fresh).await?;
            let locked =
                accounts::lock_by_fingerprint(tx, &agent.company_id, &credential.fingerprint).await?;
            let mut locked = locked.unwrap_or(fresh);
            if is_first && let Some(park) = inherited(tx, agent, now).await? {
                locked.account.standing = Standing::Parked(park);
                accounts::save(tx, &locked, now).await?;
            }
            locked
        }
    };
    if stored.first_agent_id.as_ref() != Some(&agent.id) && !stored.account.is_shared {
        stored.account.is_shared = true;
        is_new = true;
    }
    Ok(match stored.account.start(&run.id, now) {
        Err(wait) => Err(wait),
        Ok(change) => Ok(Some(Entrance { stored, change, is_new })),
    })
}

impl Entrance {
    /// The run has started.
    pub(crate) async fn pass(self, tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<(), StoreError> {
        let Entrance { stored, change, is_new } = self;
        accounts::set_of_run(tx, run, Some(&stored.id)).await?;
        if change.is_none() && !is_new {
            return Ok(());
        }
        let told = keep(tx, stored, change, now).await?;
        tell(tx, told, None, now).await
    }
}

/// A row for an account of which nothing is known; its id is made of what is known of the moment, so that a transaction
/// that is tried again makes the same one. `by`: the run or the agent that it is met with.
fn fresh(credential: &Credential, by: &str, agent: &Agent, now: Moment) -> StoredAccount {
    let described = &credential.described;
    let is_key = described.label.starts_with("key ");
    let mark = if is_key { format!(" ({})", &credential.fingerprint[..6]) } else { String::new() };
    StoredAccount {
        id: id_of(&["account", &credential.fingerprint, agent.company_id.as_str(), by], now),
        company_id: agent.company_id.clone(),
        provider: described.provider.clone(),
        fingerprint: credential.fingerprint.clone(),
        label: format!("{}{mark}", described.label),
        account: Account::open(),
        first_agent_id: Some(agent.id.clone()),
        due_at: None,
        reset_at: None,
        last_error: None,
        login: Login::default(),
        created_at: now,
        updated_at: now,
    }
}

fn id_of(parts: &[&str], now: Moment) -> String {
    let digest = Sha256::digest(parts.join(" ").as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    domain::ids::mint(now, random)
}

/// An agent that was given another login because it had lost its own: one run tries the new one.
async fn inherited(tx: &mut Tx<'_>, agent: &Agent, now: Moment) -> Result<Option<Park>, StoreError> {
    let Some(last) = accounts::last_of_agent(tx, &agent.id).await? else { return Ok(None) };
    let last = accounts::get(tx, &last).await?;
    let lost = last.as_ref().and_then(|stored| stored.account.park()).filter(|it| it.why == ParkedFor::Login);
    Ok(lost.map(|_| to_be_tried(now)))
}

/// A login that one run is to try before others follow.
fn to_be_tried(now: Moment) -> Park {
    Park {
        why: ParkedFor::Login,
        since: now,
        until: Some(now),
        is_named: false,
        is_released: true,
        is_asked: false,
    }
}

/// What the end of a run says of its account.
#[derive(Debug, Clone)]
pub(crate) struct Parting {
    pub said: Said,
    /// The words of the failure.
    pub error: Option<String>,
    /// How the login looked when the run was settled, and whether somebody logged in since the process had ended.
    pub login: Option<(Login, bool)>,
}

impl Parting {
    /// Reads it; files are looked at from the outside when a login was lost.
    pub(crate) fn of(
        keyring: &Keyring,
        credential: &Credential,
        (said, error): (Said, Option<&str>),
        ended_at: Option<Moment>,
    ) -> Parting {
        let login = (said == Said::LoginLost).then(|| {
            let login = keyring.look_at_login(credential);
            let is_newer = ended_at.is_some_and(|at| is_newer(&login.files, at));
            (login, is_newer)
        });
        Parting { said, error: error.map(str::to_owned), login }
    }
}

/// What is to be told of an account.
#[derive(Debug)]
pub(crate) struct Told {
    stored: StoredAccount,
    change: Option<Change>,
}

/// A run has ended: its account hears of it. The run is locked; what is told is for [`tell`], behind the other locks.
pub(crate) async fn ended(
    tx: &mut Tx<'_>,
    run: &Run,
    parting: &Parting,
    now: Moment,
) -> Result<Option<Told>, StoreError> {
    let Some(id) = accounts::of_run(tx, &run.id).await? else { return Ok(None) };
    let Some(mut stored) = accounts::lock(tx, &id).await? else { return Ok(None) };
    let end = Ended { run: &run.id, agent: &run.agent_id, said: parting.said };
    let change = stored.account.ended(end, now);
    let Some(change) = change else { return Ok(None) };
    if let Said::Limit { not_before: Some(at) } = parting.said {
        stored.reset_at = Some(at);
    }
    if parting.said != Said::Answered {
        stored.last_error = parting.error.as_deref().map(|error| error.chars().take(500).collect());
    }
    if let Some((login, is_newer)) = &parting.login {
        stored.login = login.clone();
        if *is_newer {
            stored.account.login_changed(now);
        }
    }
    Ok(Some(keep(tx, stored, Some(change), now).await?))
}

/// The provider has answered a run that goes on: if it is the one that tries the account, the others may follow.
pub(crate) async fn answered(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<Option<Told>, StoreError> {
    let Some(id) = accounts::of_run(tx, run).await? else { return Ok(None) };
    let is_probe = |stored: &StoredAccount| matches!(&stored.account.standing, Standing::Probing { run: probe, .. } if probe == run);
    if !accounts::get(tx, &id).await?.is_some_and(|stored| is_probe(&stored)) {
        return Ok(None);
    }
    let Some(mut stored) = accounts::lock(tx, &id).await? else { return Ok(None) };
    match stored.account.answered(run, now) {
        Some(change) => Ok(Some(keep(tx, stored, Some(change), now).await?)),
        None => Ok(None),
    }
}

/// Somebody touched the configuration of an agent whose runs were refused: one run tries it.
pub(crate) async fn configured(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    (before, agent): (&Agent, &Agent),
    now: Moment,
) -> Result<(), StoreError> {
    all_configured(tx, keyring, std::slice::from_ref(agent), now).await?;
    given_another_login(tx, keyring, (before, agent), now).await
}

/// An agent whose login is lost gets another one that nobody has used: whoever of those that waited comes first, one run
/// tries it.
async fn given_another_login(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    (before, agent): (&Agent, &Agent),
    now: Moment,
) -> Result<(), StoreError> {
    let Some(credential) = keyring.of(agent) else { return Ok(()) };
    let had = standing(tx, keyring, std::slice::from_ref(before)).await?.pop().flatten();
    let is_lost =
        had.as_ref().and_then(|had| had.account.park()).is_some_and(|it| it.why == ParkedFor::Login);
    let is_another = had.is_some_and(|had| had.fingerprint != credential.fingerprint);
    if !is_lost || !is_another {
        return Ok(());
    }
    let mut stored = fresh(&credential, agent.id.as_str(), agent, now);
    if accounts::insert(tx, &stored).await? {
        stored.account.standing = Standing::Parked(to_be_tried(now));
        keep(tx, stored, None, now).await?;
    }
    Ok(())
}

/// The same for many agents of one company: each of their accounts is tried by one run, and locked in one order.
pub(crate) async fn all_configured(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    agents: &[Agent],
    now: Moment,
) -> Result<(), StoreError> {
    let of = |agent: &Agent| Some((keyring.of(agent)?.fingerprint, agent.company_id.clone()));
    let touched: BTreeMap<String, CompanyId> = agents.iter().filter_map(of).collect();
    let mut told = Vec::new();
    for (fingerprint, company) in touched {
        let found = accounts::lock_by_fingerprint(tx, &company, &fingerprint).await?;
        let Some(mut stored) = found else { continue };
        if let Some(change) = stored.account.configured(now) {
            told.push(keep(tx, stored, Some(change), now).await?);
        }
    }
    for told in told {
        tell(tx, told, None, now).await?;
    }
    Ok(())
}

/// Writes an account, with the moment at which it is to be looked at next.
pub(crate) async fn keep(
    tx: &mut Tx<'_>,
    mut stored: StoredAccount,
    change: Option<Change>,
    now: Moment,
) -> Result<Told, StoreError> {
    // What is due at this very moment is due: somebody may wait for it.
    let just_before = Moment::from_micros(now.micros() - 1);
    stored.due_at = stored.account.next_look(just_before);
    stored.updated_at = now;
    accounts::save(tx, &stored, now).await?;
    Ok(Told { stored, change })
}

/// Tells of a change: an event, an entry of the log, and the inbox.
pub(crate) async fn tell(
    tx: &mut Tx<'_>,
    told: Told,
    by_person: Option<&str>,
    now: Moment,
) -> Result<(), StoreError> {
    let Told { stored, change } = told;
    let Some(Change::Moved { notice, works }) = change else { return Ok(()) };
    signals::account_status(tx, &stored, now).await?;
    if works {
        inbox::resolve_of(tx, &stored.id, None, "works_again", now).await?;
    }
    if let Some(notice) = notice {
        open_item(tx, &stored, notice, now).await?;
    }
    if by_person.is_some() {
        // Whoever did it writes it down.
        return Ok(());
    }
    let action = match stored.account.standing {
        Standing::Parked(_) => "account.parked",
        Standing::Probing { .. } => "account.probing",
        Standing::Resuming { .. } => "account.resumed",
        // It works as before; whoever waited has started.
        Standing::Open => return Ok(()),
    };
    let details = json!({
        "provider": stored.provider, "label": stored.label, "reason": stored.account.park().map(|park| park.why),
        "until": stored.account.park().and_then(|park| park.until),
    });
    let entry = Activity {
        id: id_of(&[action, &stored.id, &now.micros().to_string()], now),
        company_id: stored.company_id.clone(),
        actor_type: "system".to_owned(),
        actor_id: recovery::ACTOR.to_owned(),
        action: action.to_owned(),
        entity_type: "account".to_owned(),
        entity_id: stored.id.clone(),
        agent_id: None,
        run_id: None,
        details: Some(details),
        created_at: now,
    };
    activity::log(tx, &entry).await
}

async fn open_item(
    tx: &mut Tx<'_>,
    stored: &StoredAccount,
    notice: Notice,
    now: Moment,
) -> Result<(), StoreError> {
    let (kind, cause, title) = match notice {
        Notice::LoginLost => {
            (InboxKind::AccountLogin, "login", format!("{} has lost its login", named(stored)))
        }
        Notice::KeepsFailing => {
            (InboxKind::AccountParked, "keeps_failing", format!("{} refuses every run", named(stored)))
        }
        Notice::GoOn => {
            (InboxKind::AccountParked, "go_on", format!("the limit of {} is over: go on?", named(stored)))
        }
    };
    let details: Json = json!({
        "accountId": stored.id, "provider": stored.provider, "label": stored.label, "error": stored.last_error,
        "until": stored.account.park().and_then(|park| park.until),
    });
    let item = InboxItem {
        id: id_of(&["inbox", cause, &stored.id, &now.micros().to_string()], now),
        company_id: stored.company_id.clone(),
        kind: kind.as_str().to_owned(),
        entity_type: "account".to_owned(),
        entity_id: stored.id.clone(),
        cause: cause.to_owned(),
        title,
        details,
        owner_agent_id: None,
        opened_at: now,
        resolved_at: None,
        resolution: None,
    };
    inbox::open(tx, &item).await.map(drop)
}

/// An account as people call it.
pub(crate) fn named(stored: &StoredAccount) -> String {
    format!("the {} account `{}`", stored.provider, stored.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_new_when_a_file_that_is_there_looks_otherwise() {
        for (before, now, is_new) in [
            ("1", "1", false),
            ("1", "2", true),
            ("-", "1", true),
            // Taken away, and put back as it was.
            ("1", "-", false),
            ("-", "-", false),
            ("1 2", "- 2", false),
            ("1 2", "- 3", true),
            ("- 2", "1 2", true),
            ("", "1", true),
        ] {
            assert_eq!(is_new_login(before, now), is_new, "{before:?} -> {now:?}");
        }
    }

    #[test]
    fn a_login_is_looked_at_from_the_outside_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".credentials.json");
        let files = vec![file.to_string_lossy().into_owned()];
        assert_eq!(mark(&files), "-");
        std::fs::write(&file, "secret").unwrap();
        let first = mark(&files);
        assert_eq!(mark(&files), first);
        assert!(!first.contains("secret"));
        // Another file in its place, as programs write it.
        let other = folder.path().join("new");
        std::fs::write(&other, "secres").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_ne!(mark(&files), first);
        assert!(is_newer(&files, Moment::from_micros(0)));
        assert!(!is_newer(&files, Moment::from_micros(i64::MAX)));
    }
}
