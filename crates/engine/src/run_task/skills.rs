//! The skills of a run: chosen, laid out, and put into what its program is told.
//!
//! They are loaded for each process. A skill that cannot be had is a warning of the run and no reason to fail it.

use domain::ids::IssueId;
use domain::skill;
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::comments::{self, Order};
use store::runs::Run;
use store::{StoreError, Tx, issues};

use super::Tending;
use crate::processes::beside;
use crate::signals;
use crate::skills::shelf::{self, Sheet};
use crate::skills::{OWN_KEY, are_supported, offered};

/// As many comments are looked through for mentions, the newest (spec/heartbeat.md W-34).
const LOOKED_THROUGH: i64 = 50;
/// Where the program's context says which skills it has. Nobody else may: it names a folder that programs trust.
pub(super) const KEY: &str = "paperclipRuntimeSkills";

/// The skills of a run, and what was asked for and is not there.
async fn load(tx: &mut Tx<'_>, run: &Run, agent: &Agent) -> Result<(Vec<Sheet>, Vec<String>), StoreError> {
    let mut texts: Vec<String> = Vec::new();
    let issue = match &run.issue_id {
        Some(id) => issues::get(tx, &IssueId::from(id.as_str())).await?,
        None => None,
    };
    if let Some(issue) = issue.filter(|issue| issue.company_id == run.company_id) {
        texts.push(issue.title);
        texts.extend(issue.description);
        let said = comments::list(tx, &issue.id, Order::NewestFirst, None, LOOKED_THROUGH).await?;
        texts.extend(said.into_iter().map(|comment| comment.body));
    }
    let (all, sheets): (Vec<_>, Vec<_>) = offered(tx, &run.company_id).await?.into_iter().unzip();
    let mentioned = skill::mentions(texts.iter().map(String::as_str));
    let chosen = skill::choose(&all, &skill::desired(&agent.adapter_config), &mentioned);
    let given = chosen
        .given
        .into_iter()
        .filter_map(|(at, is_mentioned)| sheets.get(at).map(|sheet| Sheet { is_mentioned, ..sheet.clone() }));
    Ok((given.collect(), chosen.unknown))
}

impl Tending<'_> {
    /// Loads and lays out the skills of the run; false when the server leaves first.
    pub(super) async fn give_skills(&mut self) -> bool {
        if !are_supported(&self.agent.adapter_type) {
            self.say_skills(None);
            return true;
        }
        let of = (self.run.clone(), self.agent.clone());
        let loaded = self.read_patiently("the skills", of, |tx, (run, agent)| {
            Box::pin(async move { load(tx, &run, &agent).await })
        });
        let Some((sheets, unknown)) = loaded.await else { return false };
        self.bundle = self.skills_told_once(&sheets);
        if !unknown.is_empty() {
            let payload = json!({ "skills": unknown });
            self.events.push(signals::lifecycle(
                "warn",
                "skills that are asked for do not exist",
                Some(payload),
            ));
        }
        let mentioned: Vec<&str> =
            sheets.iter().filter(|sheet| sheet.is_mentioned).map(|sheet| sheet.key.as_str()).collect();
        if !mentioned.is_empty() {
            let payload = json!({ "skills": mentioned });
            self.events.push(signals::lifecycle("info", "the issue mentions skills", Some(payload)));
        }
        let settings = &self.engine.settings;
        let base = settings.data_dir.join("skills").join(self.run.company_id.as_str());
        let (to_lay, now) = (sheets.clone(), self.engine.clock.now());
        let laid = beside(&self.engine.processes, move || shelf::lay_out(&base, &to_lay, now)).await;
        match laid.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(root) => {
                let listed: Vec<Json> = sheets
                    .iter()
                    .map(|sheet| {
                        json!({
                            "key": sheet.key, "name": sheet.name, "description": sheet.description,
                            "file": shelf::file_of(&root, &sheet.name), "mentioned": sheet.is_mentioned,
                        })
                    })
                    .collect();
                self.say_skills(Some(json!({ "root": root, "skills": listed })));
            }
            Err(error) => {
                let payload = json!({ "error": error.to_string() });
                let message = "the skills cannot be laid out, so the agent works without them";
                self.events.push(signals::lifecycle("warn", message, Some(payload)));
                self.say_skills(None);
            }
        }
        true
    }

    /// The hash of the skills of its agent that a program is told once for a session; `None` for one that is told again.
    /// What Bugle itself brings along counts for nothing: it would end every session with every release.
    fn skills_told_once(&self, sheets: &[Sheet]) -> Option<String> {
        let own = sheets.iter().filter(|sheet| !sheet.is_mentioned && sheet.key != OWN_KEY);
        (self.agent.adapter_type == "claude_local").then(|| shelf::digest(own))
    }

    fn say_skills(&mut self, said: Option<Json>) {
        let context = self.briefing.as_ref().unwrap_or(&self.run.context);
        if said.is_none() && context.get(KEY).is_none() {
            return;
        }
        let mut told: Map<String, Json> = context.as_object().cloned().unwrap_or_default();
        match said {
            Some(said) => told.insert(KEY.to_owned(), said),
            None => told.remove(KEY),
        };
        self.briefing = Some(Json::Object(told));
    }
}
