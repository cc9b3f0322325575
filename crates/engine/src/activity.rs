//! Who changes something, and the record of it that people read: the activity log.
//!
//! An [`Author`] is whom the caller has authenticated; whether it may do what it asks is decided elsewhere. Every change
//! is told once, in its own transaction: as a row of the log and as the event `activity.logged`.

use domain::access::{self, guard};
use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::issue::{Editor, EditorRun};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{Actor, ActorKind};
use serde_json::{Value as Json, json};
use store::activity::{self, Activity, Place};
use store::{StoreError, Tx, events, runs};

use crate::{Engine, EngineError, Inner};

/// Who asks for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// A person, or the trusted board without a name.
    Board {
        user: Option<String>,
        /// May give work to agents (`tasks:assign`); everybody on a trusted instance may.
        may_assign: bool,
    },
    /// An agent, with the run it says it works in.
    Agent { id: AgentId, run: Option<RunId> },
    /// A part of the program.
    System { part: &'static str },
}

impl Author {
    /// The person in front of a trusted local instance.
    pub fn local_board() -> Author {
        Author::Board { user: Some("local-board".to_owned()), may_assign: true }
    }

    /// Whoever asks, as the rules of access know him; what he may do is looked at in this company. Nobody is nobody.
    pub fn of(actor: &access::Actor, company: &CompanyId) -> Result<Author, access::Refusal> {
        match actor {
            access::Actor::Nobody => Err(access::Refusal::Unauthorized),
            access::Actor::Agent(agent) => Ok(Author::agent(&agent.agent, agent.run())),
            access::Actor::Board(board) => Ok(Author::Board {
                user: Some(board.user.clone()),
                may_assign: guard::assign(actor, company).is_ok(),
            }),
        }
    }

    /// An agent in one of its runs.
    pub fn agent(id: &AgentId, run: Option<&RunId>) -> Author {
        Author::Agent { id: id.clone(), run: run.cloned() }
    }

    /// The user, when it is a named person.
    pub fn user_id(&self) -> Option<String> {
        match self {
            Author::Board { user, .. } => user.clone(),
            Author::Agent { .. } | Author::System { .. } => None,
        }
    }

    /// The agent, when it is one.
    pub fn agent_id(&self) -> Option<AgentId> {
        match self {
            Author::Agent { id, .. } => Some(id.clone()),
            Author::Board { .. } | Author::System { .. } => None,
        }
    }

    /// The run it works in.
    pub fn run_id(&self) -> Option<RunId> {
        match self {
            Author::Agent { run, .. } => run.clone(),
            Author::Board { .. } | Author::System { .. } => None,
        }
    }

    /// A person asks.
    pub const fn is_board(&self) -> bool {
        matches!(self, Author::Board { .. })
    }

    /// As wakes and the audit chain name it.
    pub fn actor(&self) -> Actor {
        match self {
            Author::Board { user, .. } => Actor { kind: ActorKind::User, id: user.clone() },
            Author::Agent { id, .. } => Actor { kind: ActorKind::Agent, id: Some(id.0.clone()) },
            Author::System { part } => Actor::system(part),
        }
    }

    /// As activity names it: type and id (spec/api.md 2.5).
    fn attribution(&self) -> (&'static str, String) {
        match self {
            Author::Board { user, .. } => ("user", user.clone().unwrap_or_else(|| "board".to_owned())),
            Author::Agent { id, .. } => ("agent", id.0.clone()),
            Author::System { part } => ("system", (*part).to_owned()),
        }
    }
}

/// New ids for one change. It is copied into each attempt at its transaction, so that all attempts make the same ones.
#[derive(Debug, Clone)]
struct Ids {
    now: Moment,
    next: u128,
}

/// Whoever writes a change down: the author, the time, and the ids it needs.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    pub(crate) now: Moment,
    pub(crate) by: Author,
    ids: Ids,
}

impl Scribe {
    pub(crate) fn new(now: Moment, by: Author, random: [u8; 16]) -> Scribe {
        Scribe { now, by, ids: Ids { now, next: u128::from_be_bytes(random) } }
    }

    /// A new id.
    pub(crate) fn id(&mut self) -> String {
        let id = domain::ids::mint(self.ids.now, self.ids.next.to_be_bytes());
        self.ids.next = self.ids.next.wrapping_add(1);
        id
    }

    /// Leaves out the ids that a copy of this scribe may have used.
    pub(crate) fn skip(&mut self) {
        self.ids.next = self.ids.next.wrapping_add(1 << 32);
    }

    /// Tells what was done to an issue.
    pub(crate) async fn tell_issue(
        &mut self,
        tx: &mut Tx<'_>,
        company: &CompanyId,
        action: &str,
        issue: &IssueId,
        details: Json,
    ) -> Result<(), StoreError> {
        self.tell(tx, company, action, ("issue", issue.as_str()), details).await
    }

    /// Tells what was done to what: a row of the log and an event, in this transaction.
    pub(crate) async fn tell(
        &mut self,
        tx: &mut Tx<'_>,
        company: &CompanyId,
        action: &str,
        (entity_type, entity_id): (&str, &str),
        details: Json,
    ) -> Result<(), StoreError> {
        let (actor_type, actor_id) = self.by.attribution();
        let entry = Activity {
            id: self.id(),
            company_id: company.clone(),
            actor_type: actor_type.to_owned(),
            actor_id,
            action: action.to_owned(),
            entity_type: entity_type.to_owned(),
            entity_id: entity_id.to_owned(),
            agent_id: self.by.agent_id(),
            run_id: self.by.run_id(),
            details: (!details.is_null()).then_some(details),
            created_at: self.now,
        };
        log(tx, &entry).await
    }

    /// Who edits, with what is known of the run it works in. Read it behind the lock of the issue: only then does it
    /// tell whether the run is still live. A run of somebody else is none of the agent's.
    pub(crate) async fn editor(&self, tx: &mut Tx<'_>) -> Result<Editor, StoreError> {
        Ok(match &self.by {
            Author::Board { user, .. } => Editor::Board { user: user.clone() },
            Author::System { .. } => Editor::System,
            Author::Agent { id, run: None } => Editor::Agent { id: id.clone(), run: None },
            Author::Agent { id, run: Some(run) } => {
                let row = runs::get(tx, run).await?.filter(|row| row.agent_id == *id);
                let known = EditorRun {
                    id: run.clone(),
                    is_live: row.as_ref().is_some_and(|row| row.status == RunStatus::Running),
                    issue: row.and_then(|row| row.issue_id).map(IssueId),
                };
                Editor::Agent { id: id.clone(), run: Some(known) }
            }
        })
    }
}

/// Writes an entry of the log and tells the subscribers.
pub(crate) async fn log(tx: &mut Tx<'_>, entry: &Activity) -> Result<(), StoreError> {
    activity::insert(tx, entry).await?;
    let payload = json!({
        "actorType": entry.actor_type, "actorId": entry.actor_id, "action": entry.action,
        "entityType": entry.entity_type, "entityId": entry.entity_id, "agentId": entry.agent_id,
        "runId": entry.run_id, "details": entry.details,
    });
    let company = entry.company_id.as_str();
    events::append(tx, company, "activity.logged", &payload.to_string(), entry.created_at.micros()).await
}

/// Which entries of a company's log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivityFilter {
    pub agent: Option<AgentId>,
    pub entity_type: Option<String>,
    pub entity_id: Option<String>,
    /// Behind this entry: its time and id.
    pub before: Option<Place>,
}

/// The longest list of activity that anybody gets.
pub const MOST_ACTIVITY: i64 = 500;

/// An entry that somebody makes by hand (spec/api.md L-02). Nobody is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityDraft {
    pub actor_type: String,
    pub actor_id: String,
    pub action: String,
    pub entity_type: String,
    pub entity_id: String,
    pub agent_id: Option<AgentId>,
    pub details: Option<Json>,
}

impl Engine {
    /// Lists what was done in a company, newest first, at most [`MOST_ACTIVITY`].
    pub async fn activity(
        &self,
        company: &CompanyId,
        filter: ActivityFilter,
        limit: i64,
    ) -> Result<Vec<Activity>, EngineError> {
        let limit = limit.clamp(1, MOST_ACTIVITY);
        let listed = self.inner.read((company.clone(), filter), move |tx, (company, filter)| {
            Box::pin(async move {
                let wanted = activity::Wanted {
                    agent: filter.agent.as_ref(),
                    entity_type: filter.entity_type.as_deref(),
                    entity_id: filter.entity_id.as_deref(),
                };
                activity::of_company(tx, &company, wanted, filter.before.clone(), limit).await
            })
        });
        Ok(listed.await?)
    }

    /// Lists what was done to an issue, newest first.
    pub async fn issue_activity(&self, issue: &IssueId, limit: i64) -> Result<Vec<Activity>, EngineError> {
        let limit = limit.clamp(1, store::issues::MOST_LISTED);
        let listed = self.inner.read(issue.clone(), move |tx, issue| {
            Box::pin(async move {
                let Some(found) = store::issues::get(tx, &issue).await? else { return Ok(None) };
                let about = ("issue", issue.as_str());
                activity::of_entity(tx, &found.company_id, about, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Adds an entry by hand.
    pub async fn add_activity(
        &self,
        company: &CompanyId,
        draft: ActivityDraft,
    ) -> Result<Activity, EngineError> {
        let mut sheet = crate::issues::Sheet::default();
        for (path, text) in [
            ("actorType", &draft.actor_type),
            ("actorId", &draft.actor_id),
            ("action", &draft.action),
            ("entityType", &draft.entity_type),
            ("entityId", &draft.entity_id),
        ] {
            sheet.required(path, text, 255);
        }
        if !matches!(draft.actor_type.as_str(), "agent" | "user" | "system" | "plugin") {
            sheet.wrong("actorType", "is none of agent, user, system, plugin", "use one of these");
        }
        sheet.finish()?;
        let entry = Activity {
            id: self.new_id(),
            company_id: company.clone(),
            actor_type: draft.actor_type,
            actor_id: draft.actor_id,
            action: draft.action,
            entity_type: draft.entity_type,
            entity_id: draft.entity_id,
            agent_id: draft.agent_id,
            run_id: None,
            details: draft.details,
            created_at: self.now(),
        };
        let written = self.inner.write(entry, |tx, entry| {
            Box::pin(async move {
                if store::companies::get(tx, &entry.company_id).await?.is_none() {
                    return Ok(None);
                }
                activity::insert(tx, &entry).await?;
                Ok(Some(entry))
            })
        });
        written.await?.ok_or(EngineError::NotFound("Company"))
    }
}

impl Inner {
    /// Takes down who changes something now.
    pub(crate) fn scribe(&self, by: &Author) -> Scribe {
        Scribe::new(self.clock.now(), by.clone(), self.dice.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_at_one_change_make_the_same_ids_and_each_is_new() {
        let now = Moment::from_micros(1_767_268_800_000_000);
        let scribe = Scribe::new(now, Author::local_board(), [0xff; 16]);
        let (mut one, mut two) = (scribe.clone(), scribe);
        let first: Vec<String> = (0..3).map(|_| one.id()).collect();
        let second: Vec<String> = (0..3).map(|_| two.id()).collect();
        assert_eq!(first, second);
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert!(first.iter().all(|id| domain::ids::looks_like_id(id)));
    }

    #[test]
    fn activity_names_people_agents_and_the_program() {
        let nameless = Author::Board { user: None, may_assign: true };
        assert_eq!(nameless.attribution(), ("user", "board".to_owned()));
        assert_eq!(Author::local_board().attribution(), ("user", "local-board".to_owned()));
        assert_eq!(Author::agent(&"a".into(), None).attribution(), ("agent", "a".to_owned()));
        assert_eq!(Author::System { part: "sweep" }.attribution(), ("system", "sweep".to_owned()));
    }
}
