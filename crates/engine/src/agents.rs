//! Companies and agents: creating, changing, finding them.
//!
//! What a configuration may hold is the adapters' to say; what a name may be and when a timer is due is `domain`'s.

use std::collections::{BTreeMap, BTreeSet};

use adapters::Problem;
use domain::access;
use domain::access::guard::{self, RightsChange};
use domain::access::reporting::{self, MAX_LEVELS, ManagerMissing};
use domain::agent::{
    AgentStatus, HeartbeatPolicy, PauseReason, Role, Turn, TurnRefused, issue_prefix, url_key,
};
use domain::budget::{Policy, Scope, ScopeKind};
use domain::ids::{AgentId, CompanyId};
use domain::instructions;
use domain::moment::Moment;
use domain::schedule;
use domain::wake::{Actor, ActorKind};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::companies::Company;
use store::secrets::Owner;
use store::{Tx, agents, audit, companies};

use crate::accounts::{self, Keyring};
use crate::activity::Scribe;
use crate::agent_defaults::Seed;
use crate::config_history::{self, RolledBack};
use crate::issues::{ANY_PROOF, Again, Locks, agent_actor};
use crate::monthly::{self, Monthly};
use crate::secrets::bindings::{self, Saved};
use crate::{Author, Engine, EngineError, agent_defaults, environments, stops};

/// A new agent (spec/api.md 4.3.1).
#[derive(Debug, Clone, PartialEq)]
pub struct AgentDraft {
    pub name: String,
    pub role: Role,
    pub title: Option<String>,
    pub icon: Option<String>,
    pub reports_to: Option<AgentId>,
    pub capabilities: Option<String>,
    pub adapter_type: String,
    /// An object.
    pub adapter_config: Json,
    /// An object.
    pub runtime_config: Json,
    /// What its runs work in when nothing nearer says.
    pub default_environment_id: Option<String>,
    pub budget_monthly_cents: i64,
    /// `None`: by role.
    pub permissions: Option<Json>,
    pub metadata: Option<Json>,
}

impl Default for AgentDraft {
    fn default() -> AgentDraft {
        AgentDraft {
            name: String::new(),
            role: Role::General,
            title: None,
            icon: None,
            reports_to: None,
            capabilities: None,
            adapter_type: "process".to_owned(),
            adapter_config: json!({}),
            runtime_config: json!({}),
            default_environment_id: None,
            budget_monthly_cents: 0,
            permissions: None,
            metadata: None,
        }
    }
}

/// A change of an agent: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentPatch {
    pub name: Option<String>,
    pub role: Option<Role>,
    pub title: Option<Option<String>>,
    pub icon: Option<Option<String>>,
    pub reports_to: Option<Option<AgentId>>,
    pub capabilities: Option<Option<String>>,
    pub adapter_type: Option<String>,
    /// Merged key by key, unless `replace_adapter_config` or the type changes.
    pub adapter_config: Option<Json>,
    pub replace_adapter_config: bool,
    pub runtime_config: Option<Json>,
    pub default_environment_id: Option<Option<String>>,
    /// Pauses or resumes it, once all else is changed.
    pub status: Option<AgentStatus>,
    /// The agent's monthly policy follows.
    pub budget_monthly_cents: Option<i64>,
    /// It is proven that a person asks: only then a budget is loosened (D19).
    pub is_proven: bool,
    pub metadata: Option<Option<Json>>,
    /// The revision that the change goes back to.
    pub rolled_back: Option<RolledBack>,
}

/// Where the environment of an agent stands in a request.
pub(crate) const ENV: &str = "adapterConfig.env";

/// Keys that a change of the adapter type carries over (spec/heartbeat.md 9.1).
const CARRIED: [&str; 11] = [
    "env",
    "cwd",
    "timeoutSec",
    "graceSec",
    "promptTemplate",
    "bootstrapPromptTemplate",
    "instructionsFilePath",
    "instructionsBundleMode",
    "instructionsRootPath",
    "instructionsEntryFile",
    "agentsMdPath",
];

impl Engine {
    /// Creates a company; its issue prefix is made unique by letters.
    pub async fn create_company(
        &self,
        name: &str,
        description: Option<String>,
        budget_monthly_cents: i64,
        actor: &Actor,
    ) -> Result<Company, EngineError> {
        if name.trim().is_empty() {
            return Err(EngineError::Invalid(vec![problem(
                "name",
                "must not be empty",
                "give the company a name",
            )]));
        }
        let now = self.now();
        let company = Company {
            id: CompanyId(self.new_id()),
            name: name.trim().to_owned(),
            description,
            status: "active".to_owned(),
            issue_prefix: issue_prefix(name),
            issue_counter: 0,
            budget_monthly_cents,
            require_approval: false,
            brand_color: None,
            created_at: now,
            updated_at: now,
        };
        let actor = actor.clone();
        Ok(self
            .inner
            .store
            .write(move |tx| {
                let (mut company, actor) = (company.clone(), actor.clone());
                Box::pin(async move {
                    while !companies::insert(tx, &company).await? {
                        company.issue_prefix.push('A');
                    }
                    let record = stops::record(
                        &company.id,
                        &actor,
                        "company.created",
                        company.id.as_str(),
                        &company.name,
                        now,
                    );
                    audit::append(tx, record).await?;
                    Ok(company)
                })
            })
            .await?)
    }

    /// Creates an agent; a name that is taken gets a number.
    pub async fn create_agent(
        &self,
        company: &CompanyId,
        draft: AgentDraft,
        actor: &Actor,
    ) -> Result<Agent, EngineError> {
        self.inner.refuse_bare_secrets(ENV, bindings::env_of(&draft.adapter_config))?;
        let seed = agent_defaults::seed(&*self.inner.dice);
        let agent = drafted(AgentId(self.new_id()), company, draft, self.now(), seed)?;
        let agent = self
            .inner
            .write_unless((agent, actor.clone()), |tx, (agent, actor)| {
                Box::pin(async move {
                    let by = author_of(&actor).agent_id();
                    let agent = insert_numbered(tx, agent, by.as_ref()).await?;
                    let (id, now) = (agent.id.as_str(), agent.created_at);
                    let record =
                        stops::record(&agent.company_id, &actor, "agent.created", id, &agent.name, now);
                    audit::append(tx, record).await?;
                    Ok(agent)
                })
            })
            .await?;
        self.inner.timers.notify_one();
        Ok(agent)
    }

    /// Changes an agent, with the budget in the patch and all that follows from it: what is refused changes nothing.
    pub async fn patch_agent(
        &self,
        agent: &AgentId,
        patch: AgentPatch,
        actor: &Actor,
    ) -> Result<Agent, EngineError> {
        let wanted = patch.status;
        let rest = AgentPatch { status: None, ..patch };
        let changes_more = rest != AgentPatch { is_proven: rest.is_proven, ..AgentPatch::default() };
        let found = if wanted.is_none() || changes_more {
            self.change_agent(agent, AgentPatch { status: wanted, ..rest }, actor).await?
        } else {
            let found =
                self.inner.read(agent.clone(), |tx, id| Box::pin(async move { agents::get(tx, &id).await }));
            found.await?.ok_or(EngineError::NotFound("Agent"))?
        };
        let turn = match wanted {
            None => Turn::Stay,
            Some(wanted) => turn_of(&found, wanted)?,
        };
        match turn {
            Turn::Stay => Ok(found),
            Turn::Pause => self.pause_agent(agent, PauseReason::Manual, actor).await,
            Turn::Resume => self.resume_agent(agent, actor).await,
        }
    }

    async fn change_agent(
        &self,
        agent: &AgentId,
        patch: AgentPatch,
        actor: &Actor,
    ) -> Result<Agent, EngineError> {
        self.inner.refuse_bare_secrets(ENV, patch.adapter_config.as_ref().and_then(bindings::env_of))?;
        let by = author_of(actor);
        let locks = Locks { agents: [agent.clone()].into(), ..Locks::default() };
        let seed = agent_defaults::seed(&*self.inner.dice);
        let context = (agent.clone(), patch, (actor.clone(), self.inner.keyring.clone(), seed));
        let changed =
            self.inner.change_widely(&by, locks, context, |tx, mut scribe, locks, (id, patch, by)| {
                Box::pin(async move {
                    let (agent, policy, keys) = change(tx, &mut scribe, &locks, &id, &patch, &by).await?;
                    // A way back is told as such.
                    if !keys.is_empty() && patch.rolled_back.is_none() {
                        let details = json!({ "name": agent.name, "changedKeys": keys });
                        let about = ("agent", id.as_str());
                        scribe.tell(tx, &agent.company_id, "agent.updated", about, details).await?;
                    }
                    Ok((agent, policy))
                })
            });
        let (mut changed, policy) = changed.await?;
        if let Some(policy) = policy {
            self.after_policy(&changed.company_id, policy).await?;
            let found =
                self.inner.read(agent.clone(), |tx, id| Box::pin(async move { agents::get(tx, &id).await }));
            changed = found.await?.ok_or(EngineError::NotFound("Agent"))?;
        }
        self.inner.timers.notify_one();
        self.inner.accounts.notify_one();
        self.inner.doorbell.ring(agent);
        self.inner.automations.lift();
        Ok(changed)
    }
}

/// The switch for the status that a change names; where there is none, nothing else is changed either.
fn turn_of(agent: &Agent, wanted: AgentStatus) -> Result<Turn, EngineError> {
    agent.status.turned(wanted).map_err(|refused| match refused {
        TurnRefused::Terminated | TurnRefused::NotLetIn => {
            EngineError::Conflict { message: refused.text().to_owned(), details: None }
        }
        TurnRefused::NotSettable => EngineError::Invalid(vec![problem(
            "status",
            refused.text(),
            "set paused, idle or active; an agent is let in with POST /api/agents/:id/approve and ended with \
             POST /api/agents/:id/terminate",
        )]),
    })
}

/// Whoever changes an agent, as the activity names it.
pub(crate) fn author_of(actor: &Actor) -> Author {
    match (actor.kind, &actor.id) {
        (ActorKind::Agent, Some(id)) => Author::agent(&AgentId(id.clone()), None),
        (ActorKind::Agent, None) | (ActorKind::System, _) => Author::System { part: "agents" },
        (ActorKind::User, user) => Author::Board { user: user.clone(), may_assign: false },
    }
}

/// The environment of an agent that is saved.
fn env_saved(agent: &Agent) -> Saved<'_> {
    let env = bindings::env_of(&agent.adapter_config);
    Saved { owner: Owner::Agent(&agent.id), company: &agent.company_id, path: ENV, before: None, env }
}

/// Changes an agent behind its lock; gives back the policy that came of it, too, and the names of what is different.
pub(crate) async fn change(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locks: &Locks,
    id: &AgentId,
    patch: &AgentPatch,
    (actor, keyring, seed): &(Actor, Keyring, Seed),
) -> Result<(Agent, Option<Policy>, Vec<&'static str>), Again> {
    let locked = locks.take(tx).await?;
    let before = locked.agents.get(id).cloned().ok_or(EngineError::NotFound("Agent"))?;
    if let Some(wanted) = patch.status {
        turn_of(&before, wanted)?;
    }
    let mut agent = patched(before.clone(), patch, *seed);
    let problems = problems_of(&agent, patch.budget_monthly_cents);
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems).into());
    }
    if let Some(editor) = acting_agent(tx, scribe).await? {
        let change = RightsChange {
            role: (before.role, agent.role),
            changes_budget: head_room(&before) != head_room(&agent),
        };
        guard::agent_rights(&editor, &before.company_id, &before.id, &change)?;
    }
    if agent.reports_to != before.reports_to
        && let Some(manager) = &agent.reports_to
    {
        let above = managed(tx, &agent, manager).await?;
        // As long as nobody else changes who is above whom, no two changes make a circle together.
        let wanted = Locks { agents: above, ..Locks::default() };
        if !locks.holds(&wanted) {
            return Err(Again::Wider(wanted));
        }
    }
    if agent.default_environment_id != before.default_environment_id {
        environments::check_default(tx, &agent).await?;
    }
    if agents::is_taken(tx, &agent).await? {
        let message = format!("Agent shortname '{}' is already in use in this company", agent.url_key);
        return Err(EngineError::Conflict { message, details: None }.into());
    }
    // Before the counters of budgets (D15).
    if agent.adapter_config != before.adapter_config {
        accounts::configured(tx, keyring, (&before, &agent), scribe.now).await?;
    }
    let mut policy = None;
    if let Some(cents) = patch.budget_monthly_cents {
        let scope = Scope { kind: ScopeKind::Agent, id: id.0.clone() };
        let asked = Monthly { shown: before.budget_monthly_cents, cents, is_proven: patch.is_proven };
        policy = monthly::set(tx, scribe, &before.company_id, scope, asked).await?;
        // With what the budget has set free and shows.
        agent = patched(agents::get(tx, id).await?.ok_or(EngineError::NotFound("Agent"))?, patch, *seed);
    }
    let heartbeat = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
    let baseline = agent.last_heartbeat_at.unwrap_or(agent.created_at);
    agent.next_timer_at = schedule::next_due(agent.status, &heartbeat, baseline.max(agent.created_at));
    agent.updated_at = scribe.now;
    agents::update(tx, &agent).await?;
    if agent.adapter_config != before.adapter_config {
        let saved = Saved { before: bindings::env_of(&before.adapter_config), ..env_saved(&agent) };
        bindings::refer(tx, saved, scribe.by.agent_id().as_ref()).await?;
    }
    config_history::keep(tx, scribe, &before, &agent, patch.rolled_back.as_ref()).await?;
    let (id, now) = (agent.id.as_str(), scribe.now);
    let record = stops::record(&agent.company_id, actor, "agent.updated", id, &agent.name, now);
    audit::append(tx, record).await?;
    let keys = config_history::changed_keys(&before, &agent);
    let more = [
        ("icon", before.icon != agent.icon),
        ("defaultEnvironmentId", before.default_environment_id != agent.default_environment_id),
    ];
    let more = more.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
    let keys = keys.into_iter().chain(more).collect();
    Ok((agent, policy, keys))
}

/// The agent that asks, as the rules of access know it now; `None` for others.
pub(crate) async fn acting_agent(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
) -> Result<Option<access::Actor>, EngineError> {
    let Some(id) = scribe.by.agent_id() else { return Ok(None) };
    let row = agents::get(tx, &id).await?.ok_or(EngineError::NotFound("Agent"))?;
    Ok(Some(access::Actor::Agent(agent_actor(tx, &row, ANY_PROOF).await?)))
}

/// What a person says that a message of the agent may cost.
fn head_room(agent: &Agent) -> Option<&Json> {
    agent.runtime_config.get("budget").filter(|budget| !budget.is_null())
}

/// Everybody who is above an agent under a new manager, the manager among them; refused when it cannot be the manager.
async fn managed(
    tx: &mut Tx<'_>,
    agent: &Agent,
    manager: &AgentId,
) -> Result<BTreeSet<AgentId>, EngineError> {
    let mut above: BTreeMap<AgentId, Option<AgentId>> = BTreeMap::new();
    let mut company = None;
    let mut at = Some(manager.clone());
    while let Some(id) = at.filter(|id| above.len() < MAX_LEVELS && !above.contains_key(id)) {
        let Some(found) = agents::get(tx, &id).await? else { break };
        company.get_or_insert(found.company_id);
        above.insert(id, found.reports_to.clone());
        at = found.reports_to;
    }
    let reports_to = |id: &AgentId| above.get(id).cloned().flatten();
    let judged = reporting::manager((&agent.id, &agent.company_id), (manager, company.as_ref()), reports_to);
    match judged {
        Ok(()) => Ok(above.into_keys().collect()),
        Err(ManagerMissing::Missing) => Err(EngineError::NotFound("Manager")),
        Err(refused @ (ManagerMissing::Itself | ManagerMissing::Foreign | ManagerMissing::Circle)) => {
            let hint = match refused {
                ManagerMissing::Foreign => "name an agent of this company",
                ManagerMissing::Itself | ManagerMissing::Missing => "name another agent, or null",
                ManagerMissing::Circle => "name an agent that does not report to it, or null",
            };
            Err(EngineError::Invalid(vec![problem("reportsTo", refused.text(), hint)]))
        }
    }
}

/// What is wrong with a patched agent.
fn problems_of(agent: &Agent, cents: Option<i64>) -> Vec<Problem> {
    check_agent(
        &agent.name,
        &agent.adapter_type,
        &agent.adapter_config,
        &agent.runtime_config,
        cents.unwrap_or(0),
    )
}

/// The agent that a draft describes, once everything in it is right; it is idle.
pub(crate) fn drafted(
    id: AgentId,
    company: &CompanyId,
    draft: AgentDraft,
    now: Moment,
    seed: Seed,
) -> Result<Agent, EngineError> {
    let problems = check_draft(&draft);
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let policy = HeartbeatPolicy::read(&draft.runtime_config, &draft.adapter_type);
    let can_create = draft.role == Role::Ceo;
    Ok(Agent {
        url_key: key_of(&draft.name, &id),
        company_id: company.clone(),
        name: draft.name.trim().to_owned(),
        role: draft.role,
        title: draft.title,
        icon: draft.icon,
        status: AgentStatus::Idle,
        reports_to: draft.reports_to,
        capabilities: draft.capabilities,
        adapter_config: typed_env(&agent_defaults::written(&draft.adapter_type, draft.adapter_config, seed)),
        runtime_config: with_heartbeat_defaults(&draft.runtime_config),
        default_environment_id: draft.default_environment_id,
        adapter_type: draft.adapter_type,
        budget_monthly_cents: draft.budget_monthly_cents,
        pause_reason: None,
        paused_at: None,
        permissions: draft.permissions.unwrap_or_else(|| json!({ "canCreateAgents": can_create })),
        metadata: draft.metadata,
        last_heartbeat_at: None,
        next_timer_at: schedule::next_due(AgentStatus::Idle, &policy, now),
        created_at: now,
        updated_at: now,
        id,
    })
}

/// Adds an agent to a company that exists, below a manager of the same; a name that is taken gets a number.
pub(crate) async fn insert_numbered(
    tx: &mut Tx<'_>,
    mut agent: Agent,
    by: Option<&AgentId>,
) -> Result<Agent, EngineError> {
    if companies::get(tx, &agent.company_id).await?.is_none() {
        return Err(EngineError::NotFound("Company"));
    }
    if let Some(manager) = &agent.reports_to {
        managed(tx, &agent, manager).await?;
    }
    environments::check_default(tx, &agent).await?;
    let name = agent.name.clone();
    for number in 2..=100 {
        if agents::insert(tx, &agent).await? {
            bindings::refer(tx, env_saved(&agent), by).await?;
            return Ok(agent);
        }
        agent.name = format!("{name} {number}");
        agent.url_key = key_of(&agent.name, &agent.id);
    }
    let message = format!("Agent name '{name}' and its first hundred numbers are in use in this company");
    Err(EngineError::Conflict { message, details: None })
}

fn patched(mut agent: Agent, patch: &AgentPatch, seed: Seed) -> Agent {
    if let Some(name) = &patch.name {
        agent.name = name.trim().to_owned();
        agent.url_key = key_of(name, &agent.id);
    }
    if let Some(role) = patch.role {
        agent.role = role;
    }
    for (ours, theirs) in [
        (&mut agent.title, &patch.title),
        (&mut agent.icon, &patch.icon),
        (&mut agent.capabilities, &patch.capabilities),
    ] {
        if let Some(value) = theirs {
            ours.clone_from(value);
        }
    }
    if let Some(manager) = &patch.reports_to {
        agent.reports_to.clone_from(manager);
    }
    if let Some(environment) = &patch.default_environment_id {
        agent.default_environment_id.clone_from(environment);
    }
    if let Some(metadata) = &patch.metadata {
        agent.metadata.clone_from(metadata);
    }
    let new_type = patch.adapter_type.as_ref().filter(|kind| **kind != agent.adapter_type);
    if patch.adapter_config.is_some() || new_type.is_some() {
        let old = agent.adapter_config.as_object().cloned().unwrap_or_default();
        let mut given = patch.adapter_config.clone().unwrap_or_default();
        bindings::unmask(&mut given, &agent.adapter_config);
        let given = given.as_object().cloned().unwrap_or_default();
        let mut merged: Map<String, Json> = match (new_type, patch.replace_adapter_config) {
            (_, true) => Map::new(),
            (None, false) => old,
            (Some(_), false) => old.into_iter().filter(|(key, _)| CARRIED.contains(&key.as_str())).collect(),
        };
        merged.extend(given.clone());
        instructions::settle(&mut merged, &given);
        agent.adapter_config = typed_env(&Json::Object(merged));
    }
    if let Some(kind) = new_type {
        agent.adapter_type.clone_from(kind);
    }
    if patch.adapter_config.is_some() || new_type.is_some() {
        agent.adapter_config = agent_defaults::written(&agent.adapter_type, agent.adapter_config, seed);
    }
    if let Some(config) = &patch.runtime_config {
        agent.runtime_config = with_heartbeat_defaults(config);
    }
    agent
}

fn key_of(name: &str, id: &AgentId) -> String {
    let key = url_key(name);
    if key.is_empty() { id.0.clone() } else { key }
}

/// Plain strings in `env` are stored as typed bindings (spec/api.md 4.3.1).
fn typed_env(config: &Json) -> Json {
    let mut config = config.clone();
    if let Some(env) = config.get_mut("env") {
        bindings::typed(env);
    }
    config
}

/// `heartbeat.enabled` is a boolean and `maxConcurrentRuns` a number, whatever was sent (spec/api.md 4.3.1).
pub(crate) fn with_heartbeat_defaults(config: &Json) -> Json {
    let mut config = if config.is_object() { config.clone() } else { json!({}) };
    let policy = HeartbeatPolicy::read(&config, "process");
    if let Some(map) = config.as_object_mut() {
        let heartbeat = map.entry("heartbeat").or_insert_with(|| json!({}));
        if !heartbeat.is_object() {
            *heartbeat = json!({});
        }
        heartbeat["enabled"] = json!(policy.enabled);
        heartbeat["maxConcurrentRuns"] = json!(policy.max_concurrent_runs);
    }
    config
}

pub(crate) fn check_draft(draft: &AgentDraft) -> Vec<Problem> {
    check_agent(
        &draft.name,
        &draft.adapter_type,
        &draft.adapter_config,
        &draft.runtime_config,
        draft.budget_monthly_cents,
    )
}

pub(crate) fn check_agent(
    name: &str,
    kind: &str,
    adapter_config: &Json,
    runtime_config: &Json,
    cents: i64,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if name.trim().is_empty() {
        problems.push(problem("name", "must not be empty", "give the agent a name"));
    }
    if name.chars().any(char::is_control) {
        problems.push(problem(
            "name",
            "must not contain control characters",
            "use letters, digits and punctuation",
        ));
    }
    if name.len() > 200 {
        problems.push(problem("name", "is longer than 200 bytes", "choose a shorter name"));
    }
    if cents < 0 {
        problems.push(problem("budgetMonthlyCents", "must not be negative", "0 means no budget"));
    }
    if !runtime_config.is_object() {
        problems.push(problem(
            "runtimeConfig",
            "must be an object",
            "for example {\"heartbeat\": {\"enabled\": true}}",
        ));
    }
    match adapters::find(kind) {
        None => {
            let known: Vec<&str> = adapters::registry().iter().map(|adapter| adapter.kind()).collect();
            let hint = format!("known types: {}", known.join(", "));
            problems.push(problem("adapterType", &format!("Unknown adapter type: {kind}"), &hint));
        }
        Some(_) if !adapter_config.is_object() => {
            problems.push(problem(
                "adapterConfig",
                "must be an object",
                "for example {\"command\": \"make\"}",
            ));
        }
        Some(adapter) => {
            problems.extend(adapter.check(adapter_config));
            let more = bindings::problems(ENV, bindings::env_of(adapter_config), &problems);
            problems.extend(more);
        }
    }
    problems
}

pub(crate) fn problem(path: &str, message: &str, hint: &str) -> Problem {
    Problem { path: path.to_owned(), message: message.to_owned(), hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_env_strings_become_typed_and_typed_ones_stay() {
        let config = json!({"command": "x", "env": {"A": "1", "B": {"type": "plain", "value": "2"}}});
        let typed = json!({"command": "x", "env": {"A": {"type": "plain", "value": "1"}, "B": {"type": "plain", "value": "2"}}});
        assert_eq!(typed_env(&config), typed);
        assert_eq!(typed_env(&json!({"env": "no"})), json!({"env": "no"}));
    }

    #[test]
    fn the_heartbeat_is_stored_with_sound_values() {
        let stored = with_heartbeat_defaults(
            &json!({"heartbeat": {"enabled": "yes", "maxConcurrentRuns": "many", "intervalSec": 5}}),
        );
        assert_eq!(
            stored,
            json!({"heartbeat": {"enabled": false, "maxConcurrentRuns": 5, "intervalSec": 5}})
        );
        assert_eq!(with_heartbeat_defaults(&json!({}))["heartbeat"]["enabled"], json!(false));
    }

    #[test]
    fn every_mistake_of_a_draft_is_named() {
        let draft = AgentDraft {
            adapter_type: "telepathy".into(),
            budget_monthly_cents: -1,
            ..AgentDraft::default()
        };
        let paths: Vec<String> = check_draft(&draft).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["name", "budgetMonthlyCents", "adapterType"]);
    }
}
