//! Skills, as they are shown.

use domain::moment::Moment;
use engine::AgentSkills as Found;
use serde::Serialize;
use serde_json::Value;
use store::skills::Skill as Row;
use utoipa::ToSchema;

/// A skill of a company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Skill {
    id: String,
    company_id: String,
    /// What agents are configured with.
    key: String,
    /// The name of its folder.
    slug: String,
    name: String,
    description: Option<String>,
    /// The whole `SKILL.md`.
    markdown: String,
    source_type: String,
    source_locator: Option<String>,
    trust_level: String,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for Skill {
    fn from(row: Row) -> Skill {
        Skill {
            id: row.id,
            company_id: row.company_id.0,
            key: row.key,
            slug: row.slug,
            name: row.name,
            description: row.description,
            markdown: row.markdown,
            source_type: row.source_type,
            source_locator: row.source_locator,
            trust_level: row.trust_level,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The skills of an agent (spec/heartbeat.md 9.7).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentSkills {
    adapter_type: String,
    /// Its program is told of skills.
    supported: bool,
    /// `ephemeral`: they are laid out for each run; `unsupported`.
    mode: &'static str,
    desired_skills: Vec<String>,
    entries: Vec<AgentSkill>,
    warnings: Vec<String>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentSkill {
    key: String,
    runtime_name: String,
    desired: bool,
    /// It is there because of a configuration, and not because somebody put it there.
    managed: bool,
    required: bool,
    required_reason: Option<&'static str>,
    /// `available`, `configured` or `missing`.
    state: &'static str,
    /// `company_managed`, `paperclip_required` or `external_unknown`.
    origin: &'static str,
    read_only: bool,
}

impl From<Found> for AgentSkills {
    fn from(found: Found) -> AgentSkills {
        let missing = found.entries.iter().filter(|entry| entry.is_missing);
        let warnings =
            missing.map(|entry| format!("Desired skill `{}` is not available.", entry.key)).collect();
        let entries = found.entries.into_iter().map(|entry| AgentSkill {
            state: match (entry.is_missing, entry.is_desired) {
                (true, _) => "missing",
                (false, true) => "configured",
                (false, false) => "available",
            },
            origin: match (entry.is_missing, entry.is_required) {
                (true, _) => "external_unknown",
                (false, true) => "paperclip_required",
                (false, false) => "company_managed",
            },
            required_reason: entry.is_required.then_some("Every run is told how to work with Bugle."),
            key: entry.key,
            runtime_name: entry.name,
            desired: entry.is_desired,
            managed: !entry.is_missing,
            required: entry.is_required,
            read_only: entry.is_required,
        });
        AgentSkills {
            adapter_type: found.adapter_type,
            supported: found.is_supported,
            mode: if found.is_supported { "ephemeral" } else { "unsupported" },
            desired_skills: found.desired,
            entries: entries.collect(),
            warnings,
        }
    }
}
