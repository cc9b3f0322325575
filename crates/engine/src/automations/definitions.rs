//! Saving definitions: checked as a whole, kept as versions that never change.

use std::collections::BTreeSet;

use domain::agent::AgentStatus;
use domain::automation::check::{Known, check};
use domain::automation::definition::{self, Definition};
use domain::automation::difference::{Change, difference};
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus, gate};
use domain::ids::{AgentId, AutomationId, CompanyId, looks_like_id};
use domain::issue::refusal::{Kind, Refusal};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::automations::definitions::{self, Automation, Version};
use store::automations::runs;
use store::{StoreError, Tx, agents, audit};

use super::launch::{invalid, read};
use super::operations::Asked;
use super::telling;
use crate::activity::{Author, Scribe};
use crate::issues::Locks;
use crate::{Engine, EngineError, digest, schedules, webhooks};

/// The longest list of automations.
pub const MOST_AUTOMATIONS: i64 = 1_000;

/// An automation with its newest definition, and how its open runs stand.
#[derive(Debug, Clone, PartialEq)]
pub struct AutomationView {
    pub automation: Automation,
    pub version: Version,
    pub open: Vec<(AutomationRunStatus, i64)>,
}

/// What saving a definition came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub view: AutomationView,
    pub changes: Vec<Change>,
    pub is_new: bool,
    /// Nothing was written: it was only asked what would be.
    pub is_dry: bool,
    /// What will not work with this definition, in words.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Saves a definition under its name: a new automation, a new version of one, or nothing when it is the same.
    ///
    /// Fails with `Invalid`, every fault with its place.
    pub async fn apply_automation(
        &self,
        company: &CompanyId,
        definition: &Json,
        dry_run: bool,
        by: &Author,
    ) -> Result<Applied, EngineError> {
        self.save_automation(company, definition, (AutomationStatus::Active, dry_run), by).await
    }

    /// The same, but that a new automation is a draft: only people start it, until somebody has it go on
    /// ([`Engine::set_automation_status`]). One that is there stays what it is.
    pub async fn draft_automation(
        &self,
        company: &CompanyId,
        definition: &Json,
        dry_run: bool,
        by: &Author,
    ) -> Result<Applied, EngineError> {
        self.save_automation(company, definition, (AutomationStatus::Draft, dry_run), by).await
    }

    async fn save_automation(
        &self,
        company: &CompanyId,
        definition: &Json,
        (of_new, dry_run): (AutomationStatus, bool),
        by: &Author,
    ) -> Result<Applied, EngineError> {
        let read = definition::read(definition).map_err(|problem| invalid(vec![problem]))?;
        let context = (company.clone(), read);
        let applied = self.inner.change(
            by,
            Locks::default(),
            context,
            move |tx, mut scribe, _, (company, definition)| {
                Box::pin(
                    async move { apply(tx, &mut scribe, &company, &definition, (of_new, dry_run)).await },
                )
            },
        );
        let applied = applied.await?;
        self.inner.automations.ring();
        Ok(applied)
    }

    /// Lists the automations of a company by name, behind a name.
    pub async fn automations(
        &self,
        company: &CompanyId,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AutomationView>, EngineError> {
        let limit = limit.clamp(1, MOST_AUTOMATIONS);
        let context = (company.clone(), after.to_owned());
        let listed = self.inner.read(context, move |tx, (company, after)| {
            Box::pin(async move {
                let mut views = Vec::new();
                for automation in definitions::list(tx, &company, &after, limit).await? {
                    views.extend(view(tx, automation).await?);
                }
                Ok(views)
            })
        });
        Ok(listed.await?)
    }

    /// Finds an automation by its id, or by its name in a company.
    pub async fn automation(&self, company: &CompanyId, name: &str) -> Result<AutomationView, EngineError> {
        let context = (company.clone(), name.to_owned());
        let found = self.inner.read(context, |tx, (company, name)| {
            Box::pin(async move {
                match find(tx, &company, &name).await? {
                    Some(automation) => view(tx, automation).await,
                    None => Ok(None),
                }
            })
        });
        found.await?.ok_or(EngineError::NotFound("Automation"))
    }

    /// Lists the versions of an automation, newest first, below a number.
    pub async fn automation_versions(
        &self,
        automation: &AutomationId,
        below: i64,
        limit: i64,
    ) -> Result<Vec<Version>, EngineError> {
        let limit = limit.clamp(1, MOST_AUTOMATIONS);
        let listed = self.inner.read(automation.clone(), move |tx, id| {
            Box::pin(async move { definitions::versions(tx, &id, below, limit).await })
        });
        Ok(listed.await?)
    }

    /// Pauses an automation, or has it go on: while it is paused nothing of it starts. Runs that are at work go on.
    pub async fn set_automation_status(
        &self,
        automation: &AutomationId,
        status: AutomationStatus,
        reason: Option<String>,
        by: &Author,
    ) -> Result<AutomationView, EngineError> {
        let context = (automation.clone(), reason);
        let changed =
            self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, (id, reason)| {
                Box::pin(async move {
                    board(&scribe)?;
                    let mut found = lock(tx, &id).await?;
                    if found.status != status {
                        found.status = status;
                        found.paused_reason = reason.filter(|_| status == AutomationStatus::Paused);
                        found.updated_at = scribe.now;
                        definitions::update(tx, &found).await?;
                        if status == AutomationStatus::Active {
                            store::schedules::rest(tx, &found.id, scribe.now).await?;
                        }
                        let action = match status {
                            AutomationStatus::Active => "automation.resumed",
                            AutomationStatus::Paused => "automation.paused",
                            AutomationStatus::Draft => "automation.drafted",
                        };
                        tell(tx, &mut scribe, &found, action, json!({ "reason": found.paused_reason }))
                            .await?;
                    }
                    view(tx, found).await?.ok_or(EngineError::NotFound("Automation"))
                })
            });
        let view = changed.await?;
        self.inner.automations.ring();
        Ok(view)
    }

    /// Tells every run of an automation that is not over to pause; `drain`: what is under way may end by itself. Those that
    /// stopped already, or end meanwhile, stay what they are. Answers how many were told.
    pub async fn pause_runs(
        &self,
        automation: &AutomationId,
        (reason, drain): (Option<String>, bool),
        by: &Author,
    ) -> Result<usize, EngineError> {
        const PAGE: i64 = 100;
        let (mut behind, mut told) = (String::new(), 0);
        loop {
            let open = self.inner.read((automation.clone(), behind), |tx, (id, behind)| {
                Box::pin(async move { runs::open_of(tx, &id, &behind, PAGE).await })
            });
            let open = open.await?;
            let Some(last) = open.last() else { return Ok(told) };
            behind = last.as_str().to_owned();
            for run in &open {
                let asked = Asked { reason: reason.clone(), drain, ..Asked::new(Operation::Pause) };
                match self.operate(run, asked, by).await {
                    Ok(_) => told += 1,
                    Err(EngineError::Refused { kind: Kind::Conflict, .. } | EngineError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Removes an automation: nothing of it starts any more, and its name is free. Its runs stay on record; it is refused
    /// while one of them is not over.
    pub async fn remove_automation(
        &self,
        automation: &AutomationId,
        by: &Author,
    ) -> Result<Automation, EngineError> {
        let removed = self.inner.change(by, Locks::default(), automation.clone(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                board(&scribe)?;
                let mut found = lock(tx, &id).await?;
                let open = runs::open_of(tx, &id, "", 10).await?;
                if !open.is_empty() {
                    let details = json!({ "automationRunIds": open });
                    let words = "The automation has runs that are not over; cancel them first";
                    return Err(EngineError::refused_with(Kind::Conflict, words, details));
                }
                found.removed_at = Some(scribe.now);
                found.updated_at = scribe.now;
                definitions::update(tx, &found).await?;
                definitions::set_after(tx, &id, &[]).await?;
                schedules::align(tx, &mut scribe, (&found.company_id, &id), &[]).await?;
                tell(tx, &mut scribe, &found, "automation.removed", json!({})).await?;
                Ok(found)
            })
        });
        removed.await
    }
}

/// Only people change automations: a definition says which agents work, and where.
pub(super) fn board(scribe: &Scribe) -> Result<(), EngineError> {
    if scribe.by.is_board() { Ok(()) } else { Err(Refusal::BoardRequired.into()) }
}

async fn lock(tx: &mut Tx<'_>, id: &AutomationId) -> Result<Automation, EngineError> {
    let found = definitions::lock(tx, id).await?.filter(|it| it.removed_at.is_none());
    found.ok_or(EngineError::NotFound("Automation"))
}

async fn view(tx: &mut Tx<'_>, automation: Automation) -> Result<Option<AutomationView>, StoreError> {
    let Some(version) = definitions::version(tx, &automation.id, automation.version).await? else {
        return Ok(None);
    };
    let open = runs::count_open(tx, &automation.id).await?;
    Ok(Some(AutomationView { automation, version, open }))
}

/// The automation of that id or name in a company, if it is not removed.
pub(super) async fn find(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    name: &str,
) -> Result<Option<Automation>, StoreError> {
    if looks_like_id(name) {
        let found = definitions::get(tx, &AutomationId::from(name)).await?;
        return Ok(found.filter(|it| it.company_id == *company && it.removed_at.is_none()));
    }
    definitions::named(tx, company, name).await
}

async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    automation: &Automation,
    action: &str,
    details: Json,
) -> Result<(), EngineError> {
    let mut details = details;
    details["name"] = json!(automation.name);
    details["version"] = json!(automation.version);
    let record = audit::AuditRecord {
        company_id: Some(automation.company_id.0.clone()),
        actor: telling::in_words(&scribe.by.actor()),
        action: action.to_owned(),
        subject: automation.id.0.clone(),
        details_json: details.to_string(),
        at: scribe.now.micros(),
    };
    audit::append(tx, record).await?;
    scribe.tell(tx, &automation.company_id, action, ("automation", automation.id.as_str()), details).await?;
    Ok(())
}

async fn apply(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    definition: &Definition,
    (of_new, is_dry): (AutomationStatus, bool),
) -> Result<Applied, EngineError> {
    board(scribe)?;
    store::companies::get(tx, company).await?.ok_or(EngineError::NotFound("Company"))?;
    inspect(tx, company, definition).await?;
    let mut warnings = webhooks::refused_by(tx, company, definition).await?;
    warnings.extend(strangers(tx, definition).await?);
    let data = serde_json::to_value(definition).unwrap_or_default();
    let hash = hash(&data);
    let by = scribe.by.user_id();
    let before = definitions::lock_named(tx, company, &definition.name).await?;
    let Some(mut automation) = before else {
        let automation = Automation {
            id: AutomationId(scribe.id()),
            company_id: company.clone(),
            name: definition.name.clone(),
            status: of_new,
            paused_reason: None,
            version: 1,
            created_by: by.clone(),
            created_at: scribe.now,
            updated_at: scribe.now,
            removed_at: None,
        };
        let version = Version {
            automation_id: automation.id.clone(),
            version: 1,
            hash,
            definition: data.clone(),
            created_by: by,
            created_at: scribe.now,
        };
        if !is_dry {
            if !definitions::insert(tx, &automation).await? {
                let words = "Another automation of that name was made at the same moment; apply it again";
                return Err(EngineError::refused(Kind::Conflict, words));
            }
            definitions::add_version(tx, &version).await?;
            connect(tx, company, &automation.id, definition).await?;
            reconnect(tx, company, &automation.name).await?;
            schedules::align(tx, scribe, (company, &automation.id), &definition.schedules).await?;
            let details = json!({ "hash": version.hash, "status": automation.status });
            tell(tx, scribe, &automation, "automation.created", details).await?;
        }
        let changes = vec![Change { path: String::new(), before: None, after: Some(data) }];
        let view = AutomationView { automation, version, open: Vec::new() };
        return Ok(Applied { view, changes, is_new: true, is_dry, warnings });
    };
    let newest = definitions::version(tx, &automation.id, automation.version).await?;
    let newest = newest.ok_or(EngineError::NotFound("Automation version"))?;
    let open = runs::count_open(tx, &automation.id).await?;
    let changes = difference(&newest.definition, &data);
    if changes.is_empty() || newest.hash == hash {
        let view = AutomationView { automation, version: newest, open };
        return Ok(Applied { view, changes: Vec::new(), is_new: false, is_dry, warnings });
    }
    automation.version += 1;
    automation.updated_at = scribe.now;
    let version = Version {
        automation_id: automation.id.clone(),
        version: automation.version,
        hash,
        definition: data,
        created_by: by,
        created_at: scribe.now,
    };
    if !is_dry {
        definitions::update(tx, &automation).await?;
        definitions::add_version(tx, &version).await?;
        connect(tx, company, &automation.id, definition).await?;
        schedules::align(tx, scribe, (company, &automation.id), &definition.schedules).await?;
        let paths: Vec<&str> = changes.iter().map(|it| it.path.as_str()).collect();
        let details = json!({ "hash": version.hash, "changes": paths });
        tell(tx, scribe, &automation, "automation.changed", details).await?;
    }
    let view = AutomationView { automation, version, open };
    Ok(Applied { view, changes, is_new: false, is_dry, warnings })
}

/// Who is named at gates and is nobody here. A user may come later, so that this is no mistake.
async fn strangers(tx: &mut Tx<'_>, definition: &Definition) -> Result<Vec<String>, StoreError> {
    let local = Author::local_board().user_id();
    let mut told = Vec::new();
    for node in &definition.nodes {
        let Some(gate) = &node.gate else { continue };
        let escalated = gate.expiry.as_ref().and_then(|expiry| expiry.escalate_to.as_ref());
        for name in gate.approvers.iter().chain(escalated) {
            if Some(name) != local.as_ref() && store::users::get(tx, name).await?.is_none() {
                told.push(format!("the gate `{}` names `{name}`, which is no id of a user here", node.id));
            }
        }
    }
    Ok(told)
}

/// Refuses a definition that cannot be run, with everything that is wrong with it.
pub(super) async fn inspect(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    definition: &Definition,
) -> Result<(), EngineError> {
    let problems = problems(tx, company, definition, None).await?;
    if problems.is_empty() { Ok(()) } else { Err(invalid(problems)) }
}

/// Everything that is wrong with a definition; of a run, by what the names of agents stand for in it.
pub(super) async fn problems(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    definition: &Definition,
    kept: Option<&Json>,
) -> Result<Vec<domain::automation::Problem>, EngineError> {
    let (mut found, mut several) = (BTreeSet::new(), BTreeSet::new());
    let named: BTreeSet<&str> = definition.nodes.iter().filter_map(|node| node.agent.as_deref()).collect();
    for name in named {
        match agents_meant(tx, (company, kept), name).await?.as_slice() {
            [] => {}
            [_] => drop(found.insert(name)),
            _ => drop(several.insert(name)),
        }
    }
    let mut others = BTreeSet::new();
    for after in &definition.after {
        if definitions::named(tx, company, &after.automation).await?.is_some() {
            others.insert(after.automation.as_str());
        }
    }
    let known = Known { agents: found, ambiguous: several, automations: others };
    let mut problems = check(definition, &known);
    problems.extend(circle(tx, company, definition).await?);
    Ok(problems)
}

/// Automations that would start each other for ever.
async fn circle(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    definition: &Definition,
) -> Result<Vec<domain::automation::Problem>, EngineError> {
    const MOST: usize = 1_000;
    let mut open: Vec<(usize, String)> =
        definition.after.iter().enumerate().map(|(at, after)| (at, after.automation.clone())).collect();
    let mut seen = BTreeSet::new();
    while let Some((at, name)) = open.pop() {
        if !seen.insert((at, name.clone())) || seen.len() > MOST {
            continue;
        }
        let Some(other) = definitions::named(tx, company, &name).await? else { continue };
        let Some(version) = definitions::version(tx, &other.id, other.version).await? else { continue };
        for after in read(&version.definition)?.after {
            if after.automation == definition.name {
                let message = format!("`{name}` begins, directly or not, after this automation");
                let hint = "automations that start each other never end; take one of the links out";
                return Ok(vec![domain::automation::Problem::new(
                    format!("after[{at}].automation"),
                    message,
                    hint,
                )]);
            }
            open.push((at, after.automation));
        }
    }
    Ok(Vec::new())
}

/// Writes whose ends this one begins after.
async fn connect(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: &AutomationId,
    definition: &Definition,
) -> Result<(), EngineError> {
    let mut sources = Vec::new();
    for after in &definition.after {
        let other = definitions::named(tx, company, &after.automation).await?;
        sources.push(other.ok_or(EngineError::NotFound("Automation"))?.id);
    }
    Ok(definitions::set_after(tx, id, &sources).await?)
}

/// Has automations begin after a new one of this name that were saved when another one had it, which was removed since.
async fn reconnect(tx: &mut Tx<'_>, company: &CompanyId, name: &str) -> Result<(), StoreError> {
    const PAGE: i64 = 200;
    let mut behind = String::new();
    loop {
        let page = definitions::list(tx, company, &behind, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        behind = last.name.clone();
        for other in page {
            if named_after(tx, &other, name).await?.is_none() {
                continue;
            }
            // Locked, and read again: somebody may be saving it at this moment.
            let Some(other) = definitions::lock(tx, &other.id).await? else { continue };
            let Some(definition) = named_after(tx, &other, name).await? else { continue };
            let mut sources = Vec::new();
            for after in &definition.after {
                sources.extend(definitions::named(tx, company, &after.automation).await?.map(|it| it.id));
            }
            definitions::set_after(tx, &other.id, &sources).await?;
        }
    }
}

/// The definition of an automation, if it begins after one of this name.
async fn named_after(
    tx: &mut Tx<'_>,
    automation: &Automation,
    name: &str,
) -> Result<Option<Definition>, StoreError> {
    let version = definitions::version(tx, &automation.id, automation.version).await?;
    let definition = version.and_then(|version| read(&version.definition).ok());
    Ok(definition.filter(|it| it.after.iter().any(|after| after.automation == name)))
}

/// The agents that a name or an id stands for now; more than one is no answer, and one that was ended is none.
async fn agents_called(tx: &mut Tx<'_>, company: &CompanyId, name: &str) -> Result<Vec<Agent>, StoreError> {
    if looks_like_id(name) {
        return Ok(agent_there(tx, company, name).await?.into_iter().collect());
    }
    agents::named(tx, company, name, &domain::agent::url_key(name)).await
}

/// The agent of a company with this id, unless it was ended.
async fn agent_there(tx: &mut Tx<'_>, company: &CompanyId, id: &str) -> Result<Option<Agent>, StoreError> {
    let found = agents::get(tx, &AgentId::from(id)).await?;
    Ok(found.filter(|agent| agent.company_id == *company && agent.status != AgentStatus::Terminated))
}

/// The agents that a run means by a name or an id: whom it meant when the run was made, whatever that agent is called
/// since; where nobody was, or that one was ended, whoever is called so now.
pub(super) async fn agents_meant(
    tx: &mut Tx<'_>,
    (company, kept): (&CompanyId, Option<&Json>),
    name: &str,
) -> Result<Vec<Agent>, StoreError> {
    if let Some(id) = kept.and_then(|kept| kept[name].as_str())
        && let Some(agent) = agent_there(tx, company, id).await?
    {
        return Ok(vec![agent]);
    }
    agents_called(tx, company, name).await
}

/// Whom the names of agents in a definition mean, to be kept with a run: ids by name, null where it is not one alone. What
/// the run keeps already stays.
pub(super) async fn meant(
    tx: &mut Tx<'_>,
    (company, kept): (&CompanyId, Option<&Json>),
    definition: &Definition,
) -> Result<Json, StoreError> {
    let named: BTreeSet<&str> = definition.nodes.iter().filter_map(|node| node.agent.as_deref()).collect();
    let mut meant = Map::new();
    for name in named {
        let id = match agents_meant(tx, (company, kept), name).await?.as_slice() {
            [agent] => json!(agent.id),
            _ => Json::Null,
        };
        meant.insert(name.to_owned(), id);
    }
    Ok(Json::Object(meant))
}

/// The digest of a definition in its one form.
pub(super) fn hash(definition: &Json) -> String {
    digest::sha256(gate::canonical(definition))
}
