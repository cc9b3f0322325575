//! A whole company as a file: written from what there is, and applied to a company, or to a new one.
//!
//! What a file may say, and what has to be done for it, is `domain::company_file`. Here the company is loaded (`there`),
//! what a file says is put as the company would keep it, and the changes are made one by one, each kind of things in a file
//! of its own (`kind`). Everything that can be looked at is looked at before the first change. Each change is a transaction
//! of its own with its records: what dies in the middle has made some of them, and the next apply makes the others.

mod agents;
mod automations;
mod budgets;
mod environments;
mod goals;
mod kind;
mod labels;
mod projects;
mod references;
mod settings;
mod skills;
mod there;
mod webhooks;

use std::collections::BTreeSet;

use adapters::Problem;
use domain::company_file::{
    self, Action, Change, Document, ENVIRONMENT, Entry, Mistake, Plan, Section, Wish, key_of, left_over,
    restored,
};
use domain::ids::CompanyId;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use store::companies::Company;

use crate::digest::hex;
use crate::{Author, Engine, EngineError, companies};
use kind::{Bench, Hand, KINDS, kind_of};
use references::hidden;
use there::There;

/// The longest text of an agent, in characters.
const TEXT: usize = 20_000;

/// A file that is to be applied.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApplyAsk {
    pub document: Json,
    /// What the file does not have is removed.
    pub prune: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// The company keeps its name, whatever the file says.
    pub keep_name: bool,
    /// The fingerprint of the plan that was looked at: another plan is refused.
    pub expect: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedFile {
    /// `None`: it would have been a new one.
    pub company: Option<CompanyId>,
    pub plan: Plan,
    pub fingerprint: String,
    /// The plan was carried out.
    pub is_done: bool,
}

impl Engine {
    /// What a company is like, as a file says it. Nothing in it is secret, and nothing is an id.
    pub async fn export_company(&self, company: &CompanyId) -> Result<Json, EngineError> {
        let there = self.there(company).await?;
        company_file::write(&document_of(&there)).map_err(|twice| {
            let thing = twice.section.thing();
            let way = match twice.section {
                Section::Goals => "as with PATCH /api/goals/ID {\"title\": \"...\"}",
                Section::Environments => "as with PATCH /api/environments/ID {\"name\": \"...\"}",
                Section::Company
                | Section::Labels
                | Section::Skills
                | Section::Agents
                | Section::Projects
                | Section::Budgets
                | Section::Automations
                | Section::Webhooks => "each with its own command",
            };
            EngineError::Conflict {
                message: format!(
                    "The company has several {thing}s called `{}` ({}): a file could not tell them apart. Give them \
                     different names first, {way}",
                    twice.name,
                    twice.ids.join(", ")
                ),
                details: Some(json!({ "section": twice.section, "name": twice.name, "ids": twice.ids })),
            }
        })
    }

    /// Brings a company in line with a file. The author is a person: it is proven.
    pub async fn apply_company_file(
        &self,
        company: &CompanyId,
        ask: &ApplyAsk,
        by: &Author,
    ) -> Result<AppliedFile, EngineError> {
        // What one makes the next one finds.
        let _turn = match ask.dry_run {
            true => None,
            false => Some(self.inner.company_files.lock(company.clone()).await),
        };
        let there = self.there(company).await?;
        let plan = self.planned(&there, ask)?;
        self.refuse_namesake(company, &plan).await?;
        let fingerprint = fingerprint(&plan);
        if ask.expect.as_ref().is_some_and(|expected| *expected != fingerprint) {
            let message =
                "The company was changed since these changes were shown; look at them again".to_owned();
            return Err(EngineError::Conflict { message, details: None });
        }
        let company = Some(company.clone());
        if ask.dry_run {
            return Ok(AppliedFile { company, plan, fingerprint, is_done: false });
        }
        self.make_all(there, &plan, by).await?;
        Ok(AppliedFile { company, plan, fingerprint, is_done: true })
    }

    /// Founds a company that is what a file says. A file that is wrong founds none.
    pub async fn apply_to_new_company(
        &self,
        name: &str,
        ask: &ApplyAsk,
        by: &Author,
    ) -> Result<AppliedFile, EngineError> {
        companies::check(Some(name), None, None)?;
        let ask = ApplyAsk { keep_name: true, ..ask.clone() };
        let empty = There::new(self.unborn(name), self.now());
        let plan = self.planned(&empty, &ask)?;
        if ask.dry_run {
            let fingerprint = fingerprint(&plan);
            return Ok(AppliedFile { company: None, plan, fingerprint, is_done: false });
        }
        let company = self.found_company(name, None, 0, by).await?;
        self.apply_company_file(&company.id, &ApplyAsk { expect: None, ..ask }, by).await
    }

    /// A company that does not exist.
    fn unborn(&self, name: &str) -> Company {
        let now = self.now();
        Company {
            id: CompanyId(String::new()),
            name: name.trim().to_owned(),
            description: None,
            status: "active".to_owned(),
            issue_prefix: String::new(),
            issue_counter: 0,
            budget_monthly_cents: 0,
            require_approval: false,
            brand_color: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// What has to be done, or everything that is wrong with the file.
    fn planned(&self, there: &There, ask: &ApplyAsk) -> Result<Plan, EngineError> {
        let current = document_of(there);
        let mut wanted = company_file::read(&ask.document).map_err(invalid)?;
        let bench = Bench { engine: self, there, stays: stays(there, &wanted, ask.prune) };
        let mut found = Vec::new();
        for entry in wanted.sections.values_mut().flatten() {
            if entry.section == Section::Company && ask.keep_name {
                entry.fields.shift_remove("name");
            }
            *entry = ready(&bench, &current, entry.clone(), &mut found);
        }
        // What two have found is said once.
        let mut said = BTreeSet::new();
        found.retain(|mistake| said.insert(mistake.path.clone()));
        let wish = Wish {
            prune: ask.prune,
            waiting: there.waiting.iter().map(|agent| agent.name.clone()).collect(),
        };
        let planned = match (found.is_empty(), company_file::plan(&current, &wanted, &wish)) {
            (true, Ok(mut plan)) => {
                found = put_away(&plan, &current, &wanted);
                webhooks::with_twins(&mut plan, there);
                Ok(plan)
            }
            (false, Ok(_)) => Err(Vec::new()),
            (_, Err(more)) => Err(more),
        };
        match planned {
            Ok(plan) if found.is_empty() => Ok(plan),
            Ok(_) => Err(invalid(found)),
            Err(more) => {
                found.extend(more);
                Err(invalid(found))
            }
        }
    }

    /// Refuses to give a company the name of another one: nobody could tell them apart by it any more. Names are the same
    /// whatever their case, as where people type them.
    async fn refuse_namesake(&self, company: &CompanyId, plan: &Plan) -> Result<(), EngineError> {
        const PAGE: i64 = 1_000;
        let is_named = |change: &&Change| {
            change.section == Section::Company && change.fields.iter().any(|field| field.path == "name")
        };
        let named = plan.changes.iter().find(is_named).and_then(|change| change.after.as_ref()?.text("name"));
        let Some(name) = named.map(|name| name.trim().to_owned()) else { return Ok(()) };
        let mut behind = None;
        loop {
            let page = self.inner.read(behind, |tx, behind| {
                Box::pin(async move { store::companies::page(tx, behind, PAGE).await })
            });
            let page = page.await?;
            let is_taken = |other: &Company| other.id != *company && other.name.eq_ignore_ascii_case(&name);
            if page.iter().any(is_taken) {
                let message = format!("another company is called `{name}`");
                let hint = "leave the name out of the file, or found a company of its own with the file: \
                            bugle apply -f FILE --create --company NAME";
                return Err(invalid(vec![Mistake::new("company.name", message, hint)]));
            }
            let Some(last) = page.last().filter(|_| page.len() as i64 == PAGE) else { return Ok(()) };
            behind = Some((last.created_at, last.id.clone()));
        }
    }

    /// Makes the changes of a plan, one after another.
    async fn make_all(&self, there: There, plan: &Plan, by: &Author) -> Result<(), EngineError> {
        let mut there = there;
        let lacks_local = there.environments.iter().any(|row| row.id.is_empty());
        if lacks_local && !plan.changes.is_empty() {
            // It is made when somebody looks for it.
            there.environments = self.environments(&there.company.id, None, None).await?;
        }
        let current = document_of(&there);
        let of_id = |entry: &Entry| Some(((entry.section, entry.id.clone()?), entry.fields.clone()));
        let was = current.entries().filter_map(of_id).collect();
        let mut hand = Hand { engine: self, there: &there, by, ids: there.ids(), was };
        for (at, change) in plan.changes.iter().enumerate() {
            let made = self.make(&hand, change).await;
            let id = made.map_err(|error| stopped(error, change, at, plan.changes.len()))?;
            if let (Some(id), Some(after)) = (id, &change.after) {
                hand.ids.insert((change.section, key_of(change.section, &after.name)), id);
            }
        }
        Ok(())
    }

    /// Makes one change; returns the id of what is there then.
    async fn make(&self, hand: &Hand<'_>, change: &Change) -> Result<Option<String>, EngineError> {
        let kind = kind_of(change.section);
        match (change.action, &change.before, &change.after) {
            (Action::Make, _, Some(after)) => kind.make(hand, after).await.map(Some),
            (Action::Change, Some(before), Some(after)) => {
                let id = id_of(hand, before)?;
                hand.is_as_planned(kind, &id, &["status"]).await?;
                kind.change(hand, &id, before, after).await?;
                Ok(Some(id))
            }
            (Action::Remove, Some(before), _) => {
                let id = id_of(hand, before)?;
                // Those that it names may have gone before it.
                hand.is_as_planned(kind, &id, &["status", "parent", "reportsTo", "after"]).await?;
                let removed = kind.remove(hand, &id, before).await;
                match removed {
                    // Somebody was quicker.
                    Err(EngineError::NotFound(_)) => Ok(None),
                    other => other.map(|()| None),
                }
            }
            _ => Ok(None),
        }
    }
}

/// The id of a thing of the company; of the local environment the one that it has by now.
fn id_of(hand: &Hand<'_>, entry: &Entry) -> Result<String, EngineError> {
    match &entry.id {
        Some(id) => Ok(id.clone()),
        None => hand.id(entry.section, &entry.name),
    }
}

/// All that a file of the company would say.
fn document_of(there: &There) -> Document {
    let sections = KINDS.iter().map(|kind| (kind.section(), kind.entries(there)));
    Document { sections: sections.collect() }
}

/// What a file says of one thing, as the company would keep it.
fn ready(bench: &Bench<'_>, current: &Document, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
    let mut entry = entry;
    let there = current.find(entry.section, &entry.key);
    let settings =
        entry.fields.iter_mut().filter(|(name, value)| value.is_object() && *name != "instructions");
    for (name, value) in settings {
        let stored = there.and_then(|there| there.fields.get(name));
        *value = restored(value.take(), stored);
        found.extend(left_over(&format!("{}.{name}", entry.place), value));
    }
    let ready = kind_of(entry.section).ready(bench, entry, found);
    let place = ready.place.clone();
    hidden(Entry { place, ..Entry::new(ready.section, None, ready.fields) })
}

/// The agents and automations that there are when all is done.
fn stays(there: &There, wanted: &Document, prune: bool) -> BTreeSet<(Section, String)> {
    let mut stays: BTreeSet<(Section, String)> =
        wanted.entries().map(|entry| (entry.section, entry.key.clone())).collect();
    let goes = |section: Section| prune && wanted.sections.contains_key(&section);
    let mut keep = |section: Section, name: &str| stays.insert((section, key_of(section, name)));
    for agent in there.agents.iter().filter(|_| !goes(Section::Agents)).chain(&there.waiting) {
        keep(Section::Agents, &agent.name);
    }
    for view in there.automations.iter().filter(|_| !goes(Section::Automations)) {
        keep(Section::Automations, &view.automation.name);
    }
    stays
}

/// Work may not be sent to an environment that is put away.
fn put_away(plan: &Plan, current: &Document, wanted: &Document) -> Vec<Mistake> {
    let mut found = Vec::new();
    let policy = format!("executionWorkspacePolicy.{ENVIRONMENT}");
    for change in &plan.changes {
        for field in change.fields.iter().filter(|it| it.path == "defaultEnvironment" || it.path == policy) {
            let name = field.after.as_ref().and_then(Json::as_str).unwrap_or_default();
            let of = |document: &Document| {
                let all = document.of(Section::Environments);
                all.iter().find(|entry| entry.name == name).map(|entry| entry.flag("archived"))
            };
            if of(wanted).or_else(|| of(current)) == Some(true) {
                let place = change.after.as_ref().map(|after| after.place.as_str()).unwrap_or_default();
                let message = format!("the environment `{name}` is archived");
                found.push(Mistake::new(format!("{place}.{}", field.path), message, "name another one"));
            }
        }
    }
    found
}

fn check_length(entry: &Entry, field: &str, found: &mut Vec<Mistake>) {
    if entry.text(field).is_some_and(|text| text.chars().nth(TEXT).is_some()) {
        let path = format!("{}.{field}", entry.place);
        found.push(Mistake::new(path, "is too long", format!("at most {TEXT} characters")));
    }
}

fn invalid(found: Vec<Mistake>) -> EngineError {
    let problem = |mistake: Mistake| Problem {
        path: mistake.path,
        message: mistake.message,
        hint: Some(mistake.hint).filter(|hint| !hint.is_empty()),
    };
    EngineError::Invalid(found.into_iter().map(problem).collect())
}

/// An error in the middle, with what had been made by then.
fn stopped(error: EngineError, change: &Change, made: usize, of: usize) -> EngineError {
    let what = format!("{} `{}`", change.section.thing(), change.name);
    let told = |words: String| {
        format!("{what}: {words} ({made} of {of} changes were made; apply again to make the others)")
    };
    let place = change.after.as_ref().map(|after| after.place.as_str()).unwrap_or_default();
    match error {
        EngineError::Invalid(problems) => {
            let placed = |problem: Problem| Problem {
                path: format!("{place}.{}", problem.path),
                message: told(problem.message),
                hint: problem.hint,
            };
            EngineError::Invalid(problems.into_iter().map(placed).collect())
        }
        EngineError::Refused { kind, message, details } => {
            EngineError::Refused { kind, message: told(message), details }
        }
        EngineError::Conflict { message, details } => {
            EngineError::Conflict { message: told(message), details }
        }
        EngineError::NotFound(thing) => {
            EngineError::Conflict { message: told(format!("{thing} is not there any more")), details: None }
        }
        other => other,
    }
}

/// Tells one plan from another, by what people are shown of it.
fn fingerprint(plan: &Plan) -> String {
    let mut hash = Sha256::new();
    for change in &plan.changes {
        hash.update(json!([change.action, change.section, change.name]).to_string());
        for field in &change.fields {
            hash.update(json!([field.path, field.before, field.after]).to_string());
        }
    }
    hex(&hash.finalize())
}

/// The fields of an object that was just written out.
fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(fields) => fields,
        _ => Map::new(),
    }
}
