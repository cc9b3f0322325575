//! What happened to a run, what it waits for, and what happens next by itself.

use std::collections::{BTreeMap, BTreeSet};

use domain::account::Wait;
use domain::agent::HeartbeatPolicy;
use domain::claim::{self, ClaimIssue, ClaimView, Gate};
use domain::hold::HeldReason;
use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;
use serde::Serialize;
use serde_json::Value as Json;
use store::agents::Agent;
use store::runs::Run;
use store::{StoreError, Tx, agents, held_texts, issues, locks, relations, runs, wakes};

use crate::accounts::Keyring;
use crate::claims::Room;
use crate::{Engine, EngineError, accounts, budgets, claims, issue_views};

/// One step in the life of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    pub at: Moment,
    pub seq: i64,
    pub level: Option<String>,
    pub message: Option<String>,
    pub payload: Option<Json>,
}

/// Who looks after a running run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub node_id: Option<String>,
    pub incarnation: Option<i64>,
    pub epoch: i64,
    pub tended_here: bool,
    pub process_pid: Option<i64>,
}

/// The answer to "why?".
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub run_id: RunId,
    pub status: RunStatus,
    /// `running` and asked to stop.
    pub cancelling: bool,
    pub held_reason: Option<HeldReason>,
    /// When that is over by itself.
    pub held_until: Option<Moment>,
    /// In words: what it waits for.
    pub waits_for: Option<String>,
    pub holder: Option<Holder>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub transitions: Vec<Transition>,
    /// How many wakes it carries, itself included.
    pub wakes: usize,
    /// The last lines of its stderr, at most 50.
    pub stderr: Vec<String>,
    /// What happens by itself.
    pub next: String,
    /// What a person could do.
    pub hint: Option<String>,
}

/// Why a run waits, and until when, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub reason: HeldReason,
    pub until: Option<Moment>,
}

impl Engine {
    /// Why queued runs wait, in the order given; `None` for runs that do not wait. Derived now, by the gates that claim.
    pub async fn held_reasons(&self, waiting: &[Run]) -> Result<Vec<Option<HeldReason>>, StoreError> {
        let held = self.held(waiting).await?;
        Ok(held.into_iter().map(|held| held.map(|held| held.reason)).collect())
    }

    /// The same, with the time at which the wait is over by itself.
    pub async fn held(&self, waiting: &[Run]) -> Result<Vec<Option<Held>>, StoreError> {
        let queued: Vec<Run> =
            waiting.iter().filter(|run| run.status == RunStatus::Queued).cloned().collect();
        if queued.is_empty() {
            return Ok(waiting.iter().map(retry_hold).collect());
        }
        let now = self.now();
        let stage = self.inner.read((queued, self.inner.keyring.clone()), move |tx, (queued, keyring)| {
            Box::pin(async move { Stage::of(tx, &queued, &keyring, now).await })
        });
        let stage = stage.await?;
        let (running, slots) = self.capacity();
        let reason = |run: &Run| match stage.gate(run, (running, slots)) {
            Gate::Held(reason) => Some(reason),
            // Its end comes with the next look at its queue, and not everything is looked at.
            Gate::Ends(_) => stage.passes_over(run, (running, slots)),
            Gate::Open | Gate::NotWaiting => None,
        };
        let held = |run: &Run| reason(run).map(|reason| Held { reason, until: stage.until(run, reason) });
        Ok(waiting.iter().map(held).collect())
    }

    /// What keeps the assignee of an issue from reading what is said there, as far as the issue and the account tell:
    /// known before anything waits for it.
    pub async fn outlook(&self, issue: &IssueId) -> Result<Option<Held>, StoreError> {
        let (now, keyring) = (self.now(), self.inner.keyring.clone());
        let found = self.inner.read((issue.clone(), keyring), move |tx, (issue, keyring)| {
            Box::pin(async move { outlook(tx, &issue, &keyring, now).await })
        });
        found.await
    }

    /// Explains a run.
    pub async fn explain(&self, run: &RunId) -> Result<Explanation, EngineError> {
        let id = run.clone();
        let (run, events, carried) = self
            .inner
            .store
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    let run = runs::get(tx, &id).await?;
                    let events = runs::events_after(tx, &id, 0, 1000).await?;
                    Ok((run, events, wakes::of_run(tx, &id, 1000).await?.len()))
                })
            })
            .await?;
        let run = run.ok_or(EngineError::NotFound("Heartbeat run"))?;
        let found = self.held(std::slice::from_ref(&run)).await?.pop().flatten();
        let held = found.map(|held| held.reason);
        let waits_for = match held {
            Some(reason) => Some(self.waits_for(&run, reason).await?),
            None => None,
        };
        let handle = self.inner.handle_of(&run.id);
        let trouble = handle.as_ref().and_then(|handle| handle.trouble());
        let (next, hint) = what_next(&run, held, trouble);
        let tended_here = handle.is_some();
        Ok(Explanation {
            cancelling: run.status == RunStatus::Running && run.stop_asked_at.is_some(),
            held_reason: held,
            held_until: found.and_then(|held| held.until),
            waits_for,
            holder: (run.status == RunStatus::Running).then(|| Holder {
                node_id: run.node_id.clone(),
                incarnation: run.lease_holder,
                epoch: run.lease_epoch,
                tended_here,
                process_pid: run.process_pid,
            }),
            transitions: events
                .into_iter()
                .map(|event| Transition {
                    at: event.created_at,
                    seq: event.seq,
                    level: event.level,
                    message: event.message,
                    payload: event.payload,
                })
                .collect(),
            wakes: carried,
            stderr: self.stderr_tail(&run, 50),
            next,
            hint,
            error: run.error,
            error_code: run.error_code,
            status: run.status,
            run_id: run.id,
        })
    }

    fn stderr_tail(&self, run: &Run, lines: usize) -> Vec<String> {
        let text = match (&run.stderr_excerpt, run.status) {
            (Some(text), _) => text.clone(),
            (None, RunStatus::Running) => {
                self.inner.handle_of(&run.id).map(|handle| handle.stderr_tail()).unwrap_or_default()
            }
            (None, _) => String::new(),
        };
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// What the gates look at of some waiting runs, loaded at once.
struct Stage {
    agents: Vec<Agent>,
    /// Agent and task of every run of theirs that is running.
    scopes: Vec<(AgentId, String)>,
    issues: BTreeMap<RunId, ClaimIssue>,
    unfunded: BTreeSet<RunId>,
    /// Agents whose account is parked.
    accounts: BTreeMap<AgentId, Wait>,
}

impl Stage {
    async fn of(
        tx: &mut Tx<'_>,
        queued: &[Run],
        keyring: &Keyring,
        now: Moment,
    ) -> Result<Stage, StoreError> {
        let mut ids: Vec<AgentId> = queued.iter().map(|run| run.agent_id.clone()).collect();
        ids.sort();
        ids.dedup();
        let found = agents::some(tx, &ids).await?;
        let scopes = runs::running_scopes(tx, &ids).await?;
        let views = issue_views::at_claim(tx, queued).await?;
        let mut unfunded = BTreeSet::new();
        for agent in &found {
            let of_agent: Vec<Run> = queued.iter().filter(|run| run.agent_id == agent.id).cloned().collect();
            unfunded.extend(budgets::shortages(tx, &of_agent, agent, now).await?);
        }
        let issues = views.into_iter().map(|(run, (issue, _))| (run, issue)).collect();
        let waits = accounts::waits(tx, keyring, &found, now).await?;
        let accounts =
            found.iter().zip(waits).filter_map(|(agent, wait)| Some((agent.id.clone(), wait?))).collect();
        Ok(Stage { agents: found, scopes, issues, unfunded, accounts })
    }

    fn agent(&self, run: &Run) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.id == run.agent_id)
    }

    fn room(&self, run: &Run, (instance_running, instance_slots): (u32, u32)) -> Room {
        let agent = self.agent(run);
        let policy = agent.map(|agent| HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type));
        let of_agent = self.scopes.iter().filter(|(agent, _)| *agent == run.agent_id);
        Room {
            slots: policy.map_or(1, |policy| policy.max_concurrent_runs),
            agent_running: u32::try_from(of_agent.count()).unwrap_or(u32::MAX),
            instance_slots,
            instance_running,
        }
    }

    /// What keeps the dispatcher from looking at the run: it passes over whatever follows a run, and all when there is no room.
    fn passes_over(&self, run: &Run, instance: (u32, u32)) -> Option<HeldReason> {
        let room = self.room(run, instance);
        if self.follows_a_run(run) {
            Some(HeldReason::Running)
        } else if room.agent_running >= room.slots {
            Some(HeldReason::Slot)
        } else {
            (room.instance_running >= room.instance_slots).then_some(HeldReason::Capacity)
        }
    }

    /// A run of the same agent and task is under way.
    fn follows_a_run(&self, run: &Run) -> bool {
        self.scopes.iter().any(|(agent, key)| *agent == run.agent_id && *key == run.task_key)
    }

    fn gate(&self, run: &Run, instance: (u32, u32)) -> Gate {
        let agent = self.agent(run);
        let room = self.room(run, instance);
        let issue = self.issues.get(&run.id).cloned();
        let status = agent.map(budgets::status_at_claim);
        let view = claims::view(run.status, status, issue, self.follows_a_run(run), room);
        let (budget, quota) = (self.unfunded.contains(&run.id), self.accounts.contains_key(&run.agent_id));
        claim::gate(&ClaimView { budget, quota, ..view })
    }

    /// When the wait is over by itself.
    fn until(&self, run: &Run, reason: HeldReason) -> Option<Moment> {
        match reason {
            HeldReason::Quota => self.accounts.get(&run.agent_id)?.until,
            HeldReason::RetryBackoff => run.retry_at,
            _ => None,
        }
    }
}

impl Engine {
    /// In words, what ends the wait: the general rule, and which blocker, hold, budget or run it is here.
    async fn waits_for(&self, run: &Run, reason: HeldReason) -> Result<String, StoreError> {
        if reason == HeldReason::Quota {
            return self.waits_for_account(run).await;
        }
        let (id, now) = (run.clone(), self.now());
        let named = self
            .inner
            .read(id, move |tx, run| Box::pin(async move { what_holds(tx, &run, reason, now).await }));
        Ok(match named.await? {
            Some(named) => format!("{}: {named}", reason.what_ends_it()),
            None => reason.what_ends_it().to_owned(),
        })
    }
}

impl Engine {
    /// In words, what the account of a run waits for, and which it is.
    async fn waits_for_account(&self, run: &Run) -> Result<String, StoreError> {
        let context = (run.agent_id.clone(), self.inner.keyring.clone());
        let found = self.inner.read(context, |tx, (agent, keyring)| {
            Box::pin(async move {
                let Some(agent) = agents::get(tx, &agent).await? else { return Ok(None) };
                Ok(accounts::standing(tx, &keyring, &[agent]).await?.pop().flatten())
            })
        });
        let wait = found.await?.and_then(|stored| {
            let wait = stored.account.admits(self.now()).err()?;
            Some(format!("{} ({}); see: bugle account list", wait.words(), accounts::named(&stored)))
        });
        Ok(wait.unwrap_or_else(|| HeldReason::Quota.what_ends_it().to_owned()))
    }
}

async fn outlook(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    keyring: &Keyring,
    now: Moment,
) -> Result<Option<Held>, StoreError> {
    let Some(issue) = issues::get(tx, issue).await? else { return Ok(None) };
    let Some(assignee) = issue.assignee_agent_id.filter(|_| !issue.status.is_terminal()) else {
        return Ok(None);
    };
    if !held_texts::waiting_of(tx, &issue.id, 1).await?.is_empty() {
        return Ok(Some(Held { reason: HeldReason::Hold, until: None }));
    }
    let Some(agent) = agents::get(tx, &assignee).await? else { return Ok(None) };
    let wait = accounts::wait_of(tx, keyring, &agent, now).await?;
    Ok(wait.map(|wait| Held { reason: HeldReason::Quota, until: wait.until }))
}

/// Who or what it is that holds a run; `None` where the reason says it all.
async fn what_holds(
    tx: &mut Tx<'_>,
    run: &Run,
    reason: HeldReason,
    now: Moment,
) -> Result<Option<String>, StoreError> {
    /// As many blockers as people read.
    const MOST: usize = 5;
    let issue = issue_views::issue_of(run);
    match (reason, issue) {
        (HeldReason::Dependency, Some(issue)) => {
            let all = relations::blockers_of(tx, std::slice::from_ref(&issue)).await?;
            let open: Vec<String> = all
                .into_iter()
                .filter(|(_, blocker)| blocker.status != IssueStatus::Done)
                .map(|(_, blocker)| format!("{} ({})", blocker.identifier, blocker.status))
                .collect();
            let more = open.len().saturating_sub(MOST);
            let shown = open.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            Ok((!open.is_empty()).then(|| format!("{shown}{more}")))
        }
        (HeldReason::Hold, Some(issue)) if !held_texts::waiting_of(tx, &issue, 1).await?.is_empty() => {
            let words = "somebody who is not trusted wrote on its task; a person who is lets it go on: bugle run release";
            Ok(Some(format!("{words} {}", run.id)))
        }
        (HeldReason::Hold, Some(issue)) => {
            let Some(hold) = issue_views::pause_hold(tx, &issue).await? else { return Ok(None) };
            let root = issues::get(tx, &hold.root).await?.map(|root| root.identifier);
            let because = hold.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
            Ok(Some(format!("hold {} on {}{because}", hold.id, root.unwrap_or(hold.root.0))))
        }
        (HeldReason::Running, Some(issue)) => {
            let holder = locks::holder(tx, &issue).await?.filter(|holder| holder.is_live);
            Ok(holder.map(|holder| format!("run {}", holder.run_id)))
        }
        (HeldReason::Budget, _) => {
            let Some(agent) = agents::get(tx, &run.agent_id).await? else { return Ok(None) };
            let shortage = budgets::shortage(tx, run, &agent, now).await?;
            Ok(shortage.map(|it| format!("{} ({} {})", it.reason, it.scope_type, it.scope_id)))
        }
        (_, _) => Ok(None),
    }
}

fn retry_hold(run: &Run) -> Option<Held> {
    let held = Held { reason: HeldReason::RetryBackoff, until: run.retry_at };
    (run.status == RunStatus::ScheduledRetry).then_some(held)
}

fn what_next(run: &Run, held: Option<HeldReason>, trouble: Option<String>) -> (String, Option<String>) {
    match run.status {
        RunStatus::Running if let Some(words) = trouble => {
            let hint = "the log of the server has every try; `bugle doctor` looks at the store".to_owned();
            (
                format!(
                    "its process is over and its end cannot be recorded: {words}; this is tried until it works"
                ),
                Some(hint),
            )
        }
        RunStatus::Queued => match held {
            Some(HeldReason::Quota) => (
                "it starts by itself when its account works again".to_owned(),
                Some("who has logged in, or knows better: bugle account resume".to_owned()),
            ),
            Some(reason) => (reason.what_ends_it().to_owned(), None),
            None => ("it starts within a second".to_owned(), None),
        },
        RunStatus::ScheduledRetry => {
            let at = run.retry_at.map(Moment::iso).unwrap_or_default();
            (format!("it is queued again at {at} (attempt {})", run.retry_attempt), None)
        }
        RunStatus::Running if run.stop_asked_at.is_some() => {
            ("its processes are being stopped; then it is recorded as cancelled".to_owned(), None)
        }
        RunStatus::Running => {
            let hint = format!("follow it: bugle logs {} -f", run.id);
            (
                "it ends when its process does; a restart of the server does not touch it".to_owned(),
                Some(hint),
            )
        }
        RunStatus::Succeeded => ("nothing; it is over".to_owned(), None),
        RunStatus::Failed | RunStatus::TimedOut | RunStatus::Cancelled => {
            let hint = match run.error_code.as_deref() {
                Some("auth_required" | "claude_auth_required" | "gemini_auth_required") => {
                    Some("log the agent's program in; see: bugle account list".to_owned())
                }
                Some("timeout") => Some("give the agent more time: adapterConfig.timeoutSec".to_owned()),
                Some("out_of_memory") => {
                    Some("give the machine more memory, or the agent less work at once".to_owned())
                }
                _ => Some(format!("see all of its output: bugle logs {}", run.id)),
            };
            ("nothing; it is over. If a retry follows, it is listed among the transitions".to_owned(), hint)
        }
    }
}
