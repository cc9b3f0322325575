//! Agents in a company file: what they are, how they are configured, what they may do, and what they are told.
//!
//! A file is applied by a person, so that in a company that wants to decide on each agent the hire is approved at once.

use domain::agent::{AgentStatus, Role};
use domain::company_file::{Entry, Mistake, Section, key_of, without_nulls, without_unset};
use domain::ids::AgentId;
use domain::instructions::{
    Bundle, ENTRY, ENTRY_KEY, FILE_KEY, LARGEST_BUNDLE, LARGEST_FILE, MODE_KEY, MOST_FILES, Mode, Place,
    ROOT_KEY, Wanted,
};
use domain::skill;
use serde_json::{Map, Value as Json, json};
use store::agents::{self, Agent};
use store::instructions::{self, InstructionFile};

use super::kind::{Bench, Doing, Hand, Kind};
use super::references::{env_to_file, env_to_store, hidden, marked_env};
use super::there::{There, may_assign};
use super::{check_length, object};
use crate::agents::{ENV, check_agent, with_heartbeat_defaults};
use crate::secrets::bindings;
use crate::{AgentDraft, AgentPatch, EngineError, agent_defaults};

/// Where a configuration names the skills of its agent.
const SKILLS_KEY: &str = "paperclipSkillSync";
/// The key that a gateway knows its agent by. It is drawn for each agent and stays where it was drawn.
const DEVICE_KEY: &str = "devicePrivateKeyPem";
/// What says where instructions are.
const INSTRUCTION_KEYS: [&str; 4] = [MODE_KEY, ROOT_KEY, ENTRY_KEY, FILE_KEY];

pub(super) struct Agents;

fn is_managed(agent: &Agent) -> bool {
    matches!(Bundle::read(&agent.adapter_config).place, Place::Managed { .. })
}

/// A configuration as a file says it: without what a file says elsewhere.
fn config_to_file(config: &Json, is_managed: bool, there: &There) -> Json {
    let mut config = without_unset(config.clone());
    if let Some(fields) = config.as_object_mut() {
        fields.shift_remove(SKILLS_KEY);
        fields.shift_remove(DEVICE_KEY);
        for key in INSTRUCTION_KEYS.iter().filter(|_| is_managed) {
            fields.shift_remove(*key);
        }
        if let Some(env) = fields.get_mut("env") {
            *env = env_to_file(env, &there.secrets);
        }
    }
    config
}

/// What everybody gets need not be in a file.
fn runtime_to_file(config: &Json) -> Json {
    let mut config = without_nulls(config.clone());
    let everybody = with_heartbeat_defaults(&json!({}));
    if let Some(heartbeat) = config.get_mut("heartbeat").and_then(Json::as_object_mut) {
        heartbeat.retain(|key, value| everybody["heartbeat"].get(key) != Some(value));
    }
    if config.get("heartbeat").is_some_and(|heartbeat| *heartbeat == json!({}))
        && let Some(fields) = config.as_object_mut()
    {
        fields.shift_remove("heartbeat");
    }
    config
}

fn instructions_to_file(agent: &Agent, files: &[InstructionFile]) -> Json {
    let bundle = Bundle::read(&agent.adapter_config);
    if !matches!(bundle.place, Place::Managed { .. }) {
        return Json::Null;
    }
    let files: Map<String, Json> =
        files.iter().map(|file| (file.path.clone(), Json::from(file.content.as_str()))).collect();
    let mut said = Map::new();
    if bundle.entry() != ENTRY {
        said.insert("entry".to_owned(), Json::from(bundle.entry()));
    }
    if !files.is_empty() {
        said.insert("files".to_owned(), Json::Object(files));
    }
    Json::Object(said)
}

fn entry(agent: &Agent, files: &[InstructionFile], may_assign: bool, there: &There) -> Entry {
    let manager = agent.reports_to.as_ref().and_then(|id| there.agent_name(id.as_str()));
    let environment = agent.default_environment_id.as_ref().and_then(|id| there.environment_name(id));
    let may_create = agent.permissions.get("canCreateAgents").and_then(Json::as_bool).unwrap_or(false);
    let fields = object(json!({
        "name": agent.name, "role": agent.role, "title": agent.title, "icon": agent.icon,
        "reportsTo": manager, "capabilities": agent.capabilities, "adapterType": agent.adapter_type,
        "defaultEnvironment": environment, "canCreateAgents": may_create,
        "canAssignTasks": may_assign,
        "skills": skill::desired(&agent.adapter_config),
        "adapterConfig": config_to_file(&agent.adapter_config, is_managed(agent), there),
        "runtimeConfig": runtime_to_file(&agent.runtime_config),
        "metadata": agent.metadata,
        "instructions": instructions_to_file(agent, files),
    }));
    hidden(Entry::new(Section::Agents, Some(agent.id.0.clone()), fields))
}

/// Files of instructions, by path.
fn files(entry: &Entry) -> Map<String, Json> {
    let files = entry.object("instructions").remove("files");
    files.and_then(|files| files.as_object().cloned()).unwrap_or_default()
}

fn entry_file(entry: &Entry) -> String {
    entry.object("instructions").get("entry").and_then(Json::as_str).unwrap_or(ENTRY).to_owned()
}

/// The configuration as it is stored, of an agent that is there or is new.
fn stored_config(hand: &Hand<'_>, entry: &Entry, there: Option<&Agent>) -> Json {
    let mut config = entry.object("adapterConfig");
    let before = there.map(|agent| &agent.adapter_config);
    if let Some(env) = config.get_mut("env") {
        let marked = marked_env(env, before.and_then(bindings::env_of));
        *env = env_to_store(ENV, &marked, &hand.there.secrets, &mut Vec::new());
    }
    let keep = |config: &mut Map<String, Json>, key: &str| {
        if let Some(value) = before.and_then(|before| before.get(key)) {
            config.insert(key.to_owned(), value.clone());
        }
    };
    keep(&mut config, SKILLS_KEY);
    let skills = entry.texts("skills");
    if !skills.is_empty() || config.contains_key(SKILLS_KEY) {
        let sync = config.entry(SKILLS_KEY).or_insert_with(|| json!({}));
        if !sync.is_object() {
            *sync = json!({});
        }
        sync["desiredSkills"] = json!(skills);
    }
    if entry.text("adapterType").as_deref() == Some("openclaw_gateway") {
        keep(&mut config, DEVICE_KEY);
    }
    if entry.fields.contains_key("instructions") && there.is_some_and(is_managed) {
        for key in INSTRUCTION_KEYS {
            keep(&mut config, key);
        }
    }
    Json::Object(config)
}

impl Kind for Agents {
    fn section(&self) -> Section {
        Section::Agents
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        let one = |agent: &Agent| {
            let files = there.instructions.get(&agent.id).map_or(&[][..], Vec::as_slice);
            entry(agent, files, there.assigning.contains(&agent.id), there)
        };
        there.agents.iter().map(one).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let (mut entry, place, before) = (entry.clone(), entry.place, found.len());
        let kind = entry.text("adapterType").unwrap_or_default();
        let mut config = entry.object("adapterConfig");
        look_at_keys(&entry, &config, found);
        look_at_files(&entry, found);
        for field in ["title", "capabilities"] {
            check_length(&entry, field, found);
        }
        let there = bench.there.agents.iter().find(|agent| key_of(Section::Agents, &agent.name) == entry.key);
        if let Some(env) = config.get_mut("env") {
            let marked = marked_env(env, there.and_then(|agent| bindings::env_of(&agent.adapter_config)));
            bench.note(&place, bench.engine.inner.refuse_bare_secrets(ENV, Some(&marked)), found);
            *env = env_to_store(&format!("{place}.{ENV}"), env, &bench.there.secrets, found);
        }
        let config = agent_defaults::written(&kind, Json::Object(config), [0; 32]);
        let runtime = with_heartbeat_defaults(&Json::Object(entry.object("runtimeConfig")));
        if found.len() == before {
            let problems = check_agent(&entry.name, &kind, &config, &runtime, 0);
            let judged = if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) };
            bench.note(&place, judged, found);
        }
        entry.fields.insert("adapterConfig".to_owned(), config_to_file(&config, false, bench.there));
        entry.fields.insert("runtimeConfig".to_owned(), runtime_to_file(&runtime));
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| {
                Box::pin(async move {
                    let id = AgentId(id);
                    let Some(agent) = agents::get(tx, &id).await? else { return Ok(None) };
                    let may_assign = may_assign(tx, &agent.company_id, &id).await?;
                    Ok(Some((agent, instructions::of_agent(tx, &id, MOST_FILES as i64).await?, may_assign)))
                })
            });
            let found = found.await?.filter(|(agent, _, _)| agent.status != AgentStatus::Terminated);
            Ok(found.map(|(agent, files, may_assign)| entry(&agent, &files, may_assign, hand.there)))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let draft = AgentDraft {
                name: entry.text("name").unwrap_or_default(),
                role: role(entry),
                title: entry.text("title"),
                icon: entry.text("icon"),
                reports_to: hand.id_in(Section::Agents, entry, "reportsTo")?.map(AgentId),
                capabilities: entry.text("capabilities"),
                adapter_type: entry.text("adapterType").unwrap_or_default(),
                adapter_config: stored_config(hand, entry, None),
                runtime_config: Json::Object(entry.object("runtimeConfig")),
                default_environment_id: hand.id_in(Section::Environments, entry, "defaultEnvironment")?,
                budget_monthly_cents: 0,
                permissions: Some(json!({ "canCreateAgents": entry.flag("canCreateAgents") })),
                metadata: entry.said_object("metadata"),
            };
            let company = &hand.there.company.id;
            let agent = hand.engine.hire_decided(company, draft, hand.by).await?;
            if !entry.flag("canAssignTasks") {
                permit(hand, &agent.id, entry).await?;
            }
            instruct(hand, &agent.id, &Map::new(), entry).await?;
            Ok(agent.id.0)
        })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move {
            let agent = AgentId(id.to_owned());
            let is_new = |field: &str| after.is_other(before, field);
            let goes =
                before.fields.contains_key("instructions") && !after.fields.contains_key("instructions");
            let is_configured = ["adapterConfig", "adapterType", "skills"].into_iter().any(is_new) || goes;
            let patch = AgentPatch {
                name: is_new("name").then(|| after.text("name")).flatten(),
                role: is_new("role").then(|| role(after)),
                title: is_new("title").then(|| after.text("title")),
                icon: is_new("icon").then(|| after.text("icon")),
                reports_to: match is_new("reportsTo") {
                    true => Some(hand.id_in(Section::Agents, after, "reportsTo")?.map(AgentId)),
                    false => None,
                },
                capabilities: is_new("capabilities").then(|| after.text("capabilities")),
                adapter_type: is_new("adapterType").then(|| after.text("adapterType")).flatten(),
                adapter_config: is_configured.then(|| stored_config(hand, after, hand.there.agent(id))),
                replace_adapter_config: is_configured,
                runtime_config: is_new("runtimeConfig").then(|| Json::Object(after.object("runtimeConfig"))),
                default_environment_id: match is_new("defaultEnvironment") {
                    true => Some(hand.id_in(Section::Environments, after, "defaultEnvironment")?),
                    false => None,
                },
                is_proven: true,
                metadata: is_new("metadata").then(|| after.said_object("metadata")),
                ..AgentPatch::default()
            };
            if patch != (AgentPatch { is_proven: true, ..AgentPatch::default() }) {
                hand.engine.patch_agent(&agent, patch, &hand.by.actor()).await?;
            }
            if is_new("canCreateAgents") || is_new("canAssignTasks") {
                permit(hand, &agent, after).await?;
            }
            if is_new("instructions") {
                instruct(hand, &agent, &files(before), after).await?;
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move {
            hand.engine.terminate_agent(&AgentId(id.to_owned()), &hand.by.actor()).await.map(drop)
        })
    }
}

fn role(entry: &Entry) -> Role {
    entry.text("role").and_then(|role| Role::parse(&role)).unwrap_or(Role::General)
}

/// What a configuration may hold in the store, and not in a file.
fn look_at_keys(entry: &Entry, config: &Map<String, Json>, found: &mut Vec<Mistake>) {
    let mut refuse = |key: &str, message: &str, hint: &str| {
        found.push(Mistake::new(format!("{}.adapterConfig.{key}", entry.place), message, hint));
    };
    if config.contains_key(SKILLS_KEY) {
        refuse(SKILLS_KEY, "stands beside the configuration in a file", "write skills = [\"KEY\"]");
    }
    if config.contains_key(DEVICE_KEY) {
        refuse(DEVICE_KEY, "is a key, which no file holds", "leave it out: each agent gets its own");
    }
    let is_told = entry.fields.contains_key("instructions");
    for key in INSTRUCTION_KEYS.into_iter().filter(|key| config.contains_key(*key)) {
        let is_managed = key == MODE_KEY && config[key] == Mode::Managed.as_str();
        if is_told || is_managed {
            let hint = "keep the texts in [agents.instructions.files], or name a folder here, not both";
            refuse(key, "says where instructions are, which are in the file itself", hint);
        }
    }
}

fn look_at_files(entry: &Entry, found: &mut Vec<Mistake>) {
    let files = files(entry);
    let place = format!("{}.instructions.files", entry.place);
    let size = |text: &Json| text.as_str().map_or(0, str::len);
    for (path, text) in files.iter().filter(|(_, text)| size(text) > LARGEST_FILE) {
        let message = format!("has {} bytes", size(text));
        found.push(Mistake::new(format!("{place}.{path}"), message, format!("at most {LARGEST_FILE}")));
    }
    let total: usize = files.values().map(size).sum();
    if files.len() > MOST_FILES || total > LARGEST_BUNDLE {
        let message = format!("has {} files of {total} bytes", files.len());
        found.push(Mistake::new(place, message, format!("at most {MOST_FILES} of {LARGEST_BUNDLE} bytes")));
    }
}

async fn permit(hand: &Hand<'_>, agent: &AgentId, entry: &Entry) -> Result<(), EngineError> {
    let (creates, assigns) = (entry.flag("canCreateAgents"), entry.flag("canAssignTasks"));
    hand.engine.set_agent_permissions(agent, creates, assigns, hand.by).await.map(drop)
}

/// Writes what is new, says which one is told first, and removes what is to go, in this order: what is told first is
/// always there.
async fn instruct(
    hand: &Hand<'_>,
    agent: &AgentId,
    there: &Map<String, Json>,
    entry: &Entry,
) -> Result<(), EngineError> {
    let (wanted, first) = (files(entry), entry_file(entry));
    for (path, text) in wanted.iter().filter(|(path, text)| there.get(*path) != Some(*text)) {
        let content = text.as_str().unwrap_or_default().to_owned();
        hand.engine.write_instructions(agent, path, content, false, hand.by).await?;
    }
    let is_told = entry.fields.contains_key("instructions");
    if is_told && hand.engine.instructions(agent).await?.entry != first {
        let wanted = Wanted { mode: Some(Mode::Managed), entry: Some(first.clone()), ..Wanted::default() };
        hand.engine.change_instructions(agent, wanted, hand.by).await?;
    }
    // Of an agent that is told nothing any more the last text stays where nobody reads it.
    for path in there.keys().filter(|path| is_told && !wanted.contains_key(*path) && **path != first) {
        hand.engine.remove_instructions(agent, path, hand.by).await?;
    }
    Ok(())
}
