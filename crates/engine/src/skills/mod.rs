//! Skills: those of a company, the program's own, and which of them an agent or a run gets.
//!
//! Which are chosen is `domain::skill`; laying them out for a program is `shelf`, telling the program of them the
//! adapter's. A skill changes nothing by itself: it is text that an agent reads.

pub(crate) mod shelf;

use domain::ids::{AgentId, CompanyId};
use domain::issue::refusal::Kind;
use domain::skill::{self, Offered};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::skills::{self, Skill};
use store::{StoreError, Tx, agents, companies};

use crate::activity::Author;
use crate::issues::{Locks, agent_in};
use crate::{AgentPatch, Engine, EngineError};
use shelf::Sheet;

/// As many skills as a company may have: all of them are looked through at every start.
pub const MOST_SKILLS: i64 = 200;
/// The longest text of a skill, in characters.
const LONGEST: usize = 100_000;
/// The longest name.
const NAME: usize = 120;

/// The skill that comes with the program: how to work with it.
const OWN: &str = include_str!("SKILL.md");
/// Its key, and the name of its folder.
pub(crate) const OWN_KEY: &str = "bugle/bugle";
const OWN_NAME: &str = "bugle";

/// A new skill, or what a skill is to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SkillDraft {
    /// Its name; else the one at the top of the text.
    pub name: Option<String>,
    /// What it is for; else what the top of the text says.
    pub description: Option<String>,
    /// The whole `SKILL.md`.
    pub markdown: Option<String>,
    pub metadata: Option<Json>,
}

/// A skill as an agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSkill {
    pub key: String,
    pub name: String,
    pub is_desired: bool,
    pub is_required: bool,
    /// It is asked for, and there is none.
    pub is_missing: bool,
}

/// The skills of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSkills {
    pub adapter_type: String,
    /// Its program is told of skills.
    pub is_supported: bool,
    pub desired: Vec<String>,
    pub entries: Vec<AgentSkill>,
}

/// Whether programs of this kind read skills.
pub(crate) fn are_supported(adapter_type: &str) -> bool {
    !matches!(adapter_type, "process" | "http" | "scripted" | "openclaw_gateway")
}

impl Engine {
    /// Lists the skills of a company, by key.
    pub async fn skills(&self, company: &CompanyId) -> Result<Vec<Skill>, EngineError> {
        let listed = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { skills::list(tx, &company, MOST_SKILLS).await })
        });
        Ok(listed.await?)
    }

    /// Returns one skill.
    pub async fn skill(&self, id: &str) -> Result<Option<Skill>, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { skills::get(tx, &id).await }));
        Ok(found.await?)
    }

    /// Adds a skill.
    pub async fn create_skill(
        &self,
        company: &CompanyId,
        draft: SkillDraft,
        by: &Author,
    ) -> Result<Skill, EngineError> {
        let text = read(&draft, None)?;
        let context = (company.clone(), text);
        let added = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (company, text)| {
            Box::pin(async move {
                companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                agent_in(tx, &scribe, &company).await?;
                let there = skills::list(tx, &company, MOST_SKILLS).await?.len();
                if there as i64 >= MOST_SKILLS {
                    let words = format!("A company has at most {MOST_SKILLS} skills");
                    return Err(EngineError::refused(Kind::Unprocessable, words));
                }
                let skill = Skill {
                    id: scribe.id(),
                    company_id: company.clone(),
                    key: format!("company/{}", text.slug),
                    slug: text.slug,
                    name: text.name,
                    description: text.description,
                    markdown: text.markdown,
                    source_type: "local".to_owned(),
                    source_locator: None,
                    trust_level: "markdown_only".to_owned(),
                    metadata: text.metadata,
                    created_at: scribe.now,
                    updated_at: scribe.now,
                };
                if !skills::insert(tx, &skill).await? {
                    let words = format!("Skill already exists: {}", skill.key);
                    return Err(EngineError::refused(Kind::Conflict, words));
                }
                let details = json!({ "key": skill.key, "name": skill.name });
                scribe
                    .tell(tx, &company, "company.skill_created", ("company_skill", &skill.id), details)
                    .await?;
                Ok(skill)
            })
        });
        added.await
    }

    /// Changes what a skill says; its key and its folder stay.
    pub async fn change_skill(&self, id: &str, draft: SkillDraft, by: &Author) -> Result<Skill, EngineError> {
        let context = (id.to_owned(), draft);
        let changed = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, draft)| {
            Box::pin(async move {
                let before = skills::get(tx, &id).await?.ok_or(EngineError::NotFound("Skill"))?;
                agent_in(tx, &scribe, &before.company_id).await?;
                let text = read(&draft, Some(&before))?;
                let after = Skill {
                    name: text.name,
                    description: text.description,
                    markdown: text.markdown,
                    metadata: text.metadata,
                    updated_at: scribe.now,
                    ..before
                };
                skills::rewrite(tx, &after).await?;
                let details = json!({ "key": after.key, "name": after.name });
                let entity = ("company_skill", after.id.as_str());
                scribe.tell(tx, &after.company_id, "company.skill_updated", entity, details).await?;
                Ok(after)
            })
        });
        changed.await
    }

    /// Removes a skill. Agents that are configured with it go on without it, and say so.
    pub async fn delete_skill(&self, id: &str, by: &Author) -> Result<Skill, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let skill = skills::get(tx, &id).await?.ok_or(EngineError::NotFound("Skill"))?;
                agent_in(tx, &scribe, &skill.company_id).await?;
                skills::remove(tx, &id).await?;
                let details = json!({ "key": skill.key, "name": skill.name });
                scribe
                    .tell(tx, &skill.company_id, "company.skill_deleted", ("company_skill", &id), details)
                    .await?;
                Ok(skill)
            })
        });
        removed.await
    }

    /// Returns the skills of an agent: what there is, and what of it its runs get.
    pub async fn agent_skills(&self, agent: &AgentId) -> Result<AgentSkills, EngineError> {
        let found = self.inner.read(agent.clone(), |tx, id| {
            Box::pin(async move {
                let Some(agent) = agents::get(tx, &id).await? else { return Ok(None) };
                let offered = offered(tx, &agent.company_id).await?;
                Ok(Some((agent, offered)))
            })
        });
        let (agent, offered) = found.await?.ok_or(EngineError::NotFound("Agent"))?;
        Ok(snapshot(&agent, &offered))
    }

    /// Says which skills the runs of an agent get, beside those that all get.
    pub async fn sync_skills(
        &self,
        agent: &AgentId,
        desired: Vec<String>,
        actor: &domain::wake::Actor,
        by: &Author,
    ) -> Result<AgentSkills, EngineError> {
        let details = json!({ "desiredSkills": desired });
        let listed: Map<String, Json> =
            Map::from_iter([("paperclipSkillSync".to_owned(), json!({ "desiredSkills": desired }))]);
        let patch = AgentPatch { adapter_config: Some(Json::Object(listed)), ..AgentPatch::default() };
        let changed = self.patch_agent(agent, patch, actor).await?;
        self.tell_of_agent(&changed, "agent.skills_synced", details, by).await?;
        self.agent_skills(agent).await
    }

    async fn tell_of_agent(
        &self,
        agent: &Agent,
        action: &'static str,
        details: Json,
        by: &Author,
    ) -> Result<(), EngineError> {
        let context = (agent.company_id.clone(), agent.id.clone(), details);
        let told =
            self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, (of, id, details)| {
                Box::pin(
                    async move { Ok(scribe.tell(tx, &of, action, ("agent", id.as_str()), details).await?) },
                )
            });
        told.await
    }
}

fn snapshot(agent: &Agent, offered: &[(Offered, Sheet)]) -> AgentSkills {
    let desired = skill::desired(&agent.adapter_config);
    let all: Vec<Offered> = offered.iter().map(|(offered, _)| offered.clone()).collect();
    let chosen = skill::choose(&all, &desired, &[]);
    let mut entries: Vec<AgentSkill> = all
        .iter()
        .enumerate()
        .map(|(at, skill)| AgentSkill {
            key: skill.key.clone(),
            name: skill.name.clone(),
            is_desired: chosen.given.iter().any(|(given, _)| *given == at),
            is_required: skill.is_required,
            is_missing: false,
        })
        .collect();
    let missing = |key: &String| AgentSkill {
        key: key.clone(),
        name: key.clone(),
        is_desired: true,
        is_required: false,
        is_missing: true,
    };
    entries.extend(chosen.unknown.iter().map(missing));
    let is_supported = are_supported(&agent.adapter_type);
    AgentSkills { adapter_type: agent.adapter_type.clone(), is_supported, desired, entries }
}

/// Every skill that a run of a company may get, the program's own first.
pub(crate) async fn offered(
    tx: &mut Tx<'_>,
    company: &CompanyId,
) -> Result<Vec<(Offered, Sheet)>, StoreError> {
    let own = Sheet {
        key: OWN_KEY.to_owned(),
        name: OWN_NAME.to_owned(),
        description: skill::front(OWN).description.unwrap_or_default(),
        markdown: OWN.to_owned(),
        is_mentioned: false,
    };
    let required =
        Offered { key: OWN_KEY.to_owned(), name: OWN_NAME.to_owned(), id: None, is_required: true };
    let mut all = vec![(required, own)];
    for skill in skills::list(tx, company, MOST_SKILLS).await? {
        let sheet = Sheet {
            key: skill.key.clone(),
            name: skill.slug.clone(),
            description: skill.description.unwrap_or_default(),
            markdown: skill.markdown,
            is_mentioned: false,
        };
        all.push((
            Offered { key: skill.key, name: skill.slug, id: Some(skill.id), is_required: false },
            sheet,
        ));
    }
    Ok(all)
}

/// A new skill as it would be kept: with its name, what it is for, and the top that programs want to see.
pub(crate) fn read_draft(draft: &SkillDraft) -> Result<SkillDraft, EngineError> {
    let text = read(draft, None)?;
    Ok(SkillDraft {
        name: Some(text.name),
        description: text.description,
        markdown: Some(text.markdown),
        metadata: text.metadata,
    })
}

/// A draft that was found sound.
#[derive(Debug, Clone)]
struct Text {
    slug: String,
    name: String,
    description: Option<String>,
    markdown: String,
    metadata: Option<Json>,
}

/// Reads a draft, what it leaves out from `before`. The text gets the top that programs want to see.
fn read(draft: &SkillDraft, before: Option<&Skill>) -> Result<Text, EngineError> {
    let mut sheet = crate::issues::Sheet::default();
    let given = draft.markdown.as_deref().or(before.map(|before| before.markdown.as_str()));
    let markdown = given.unwrap_or_default();
    sheet.required("markdown", markdown, LONGEST);
    let front = skill::front(markdown);
    let is_new_text = draft.markdown.is_some();
    let name = draft.name.clone();
    let name = name.or_else(|| front.name.clone().filter(|_| is_new_text));
    let name = name.or_else(|| before.map(|before| before.name.clone())).or(front.name.clone());
    let name = name.unwrap_or_default().trim().to_owned();
    sheet.required("name", &name, NAME);
    let description = draft.description.clone();
    let description = description.or_else(|| front.description.clone().filter(|_| is_new_text));
    let description = description.or_else(|| before.and_then(|before| before.description.clone()));
    let description = description.map(|text| domain::brief::one_line(&text)).filter(|text| !text.is_empty());
    sheet.maybe("description", description.as_deref(), skill::LONGEST_DESCRIPTION);
    sheet.object("metadata", draft.metadata.as_ref());
    let slug = before.map(|before| before.slug.clone()).or_else(|| skill::slug(&name));
    match slug.as_deref() {
        None => sheet.wrong("name", "has no letter or digit", "for example: code-review"),
        Some(OWN_NAME) => sheet.wrong("name", "is the name of the program's own skill", "choose another"),
        Some(_) => {}
    }
    sheet.finish()?;
    let slug = slug.unwrap_or_default();
    let markdown = if front == skill::Front::default() {
        let said = description.clone().unwrap_or_else(|| name.clone());
        format!("---\nname: {slug}\ndescription: {said}\n---\n\n{}", markdown.trim_start_matches('\u{FEFF}'))
    } else {
        markdown.to_owned()
    };
    let metadata = draft.metadata.clone().or_else(|| before.and_then(|before| before.metadata.clone()));
    Ok(Text { slug, name, description, markdown, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_skill_names_itself_and_what_it_is_for() {
        let front = skill::front(OWN);
        assert_eq!(front.name.as_deref(), Some(OWN_NAME));
        assert!(front.description.is_some_and(|text| text.chars().count() <= skill::LONGEST_DESCRIPTION));
    }

    #[test]
    fn a_skill_without_a_top_gets_one() {
        let draft = |name: Option<&str>, markdown: &str| SkillDraft {
            name: name.map(str::to_owned),
            markdown: Some(markdown.to_owned()),
            ..SkillDraft::default()
        };
        let text = read(&draft(Some("Code Review"), "Look twice."), None).unwrap();
        assert_eq!(
            (text.slug.as_str(), text.markdown.as_str()),
            ("code-review", "---\nname: code-review\ndescription: Code Review\n---\n\nLook twice.")
        );
        let whole = "---\nname: review\ndescription: How we review\n---\nLook twice.";
        let text = read(&draft(None, whole), None).unwrap();
        assert_eq!((text.slug.as_str(), text.markdown.as_str()), ("review", whole));
        assert_eq!(text.description.as_deref(), Some("How we review"));
        for bad in [draft(None, "x"), draft(Some("!"), "x"), draft(Some("bugle"), "x"), draft(Some("a"), " ")]
        {
            assert!(read(&bad, None).is_err(), "{bad:?}");
        }
    }
}
