//! Keys of agents and of people: made, listed, revoked. The text of a key is given out once and kept nowhere.

use domain::access::credential::CredentialKind;
use domain::agent::AgentStatus;
use domain::ids::{AgentId, CompanyId};
use serde_json::json;
use store::keys::{self, AgentKey, BoardKey};
use store::{StoreError, Tx, agents, audit, users};

use super::hash;
use crate::activity::{Author, Scribe};
use crate::stops::record;
use crate::{Engine, EngineError};

/// A key that was made a moment ago, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeKey<K> {
    pub key: K,
    pub token: String,
}

/// The longest list of keys.
const MOST_LISTED: i64 = 1_000;

impl Engine {
    /// Makes a key for an agent.
    pub async fn create_agent_key(
        &self,
        agent: &AgentId,
        name: &str,
        by: &Author,
    ) -> Result<MadeKey<AgentKey>, EngineError> {
        let name = checked(name)?;
        let token = CredentialKind::AgentKey.mint(self.inner.secret());
        let context = (agent.clone(), name, hash(&token), self.inner.scribe(by));
        let key = self
            .inner
            .write_unless(context, |tx, (agent, name, hash, scribe)| {
                Box::pin(async move { make_agent_key(tx, &agent, name, hash, scribe).await })
            })
            .await?;
        self.inner.feed.ring();
        Ok(MadeKey { key, token })
    }

    /// The keys of an agent, newest first, revoked ones too.
    pub async fn agent_keys(&self, agent: &AgentId) -> Result<Vec<AgentKey>, EngineError> {
        let listed = self.inner.read(agent.clone(), |tx, agent| {
            Box::pin(async move { keys::agent_keys(tx, &agent, None, MOST_LISTED).await })
        });
        Ok(listed.await?)
    }

    /// Revokes a key of an agent; revoking it again changes nothing.
    pub async fn revoke_agent_key(&self, agent: &AgentId, key: &str, by: &Author) -> Result<(), EngineError> {
        let context = (agent.clone(), key.to_owned(), self.inner.scribe(by));
        let known = self
            .inner
            .write(context, |tx, (agent, key, mut scribe)| {
                Box::pin(async move {
                    let Some(row) = agents::get(tx, &agent).await? else { return Ok(false) };
                    if !keys::revoke_agent_key(tx, &agent, &key, scribe.now).await? {
                        let all = keys::agent_keys(tx, &agent, None, MOST_LISTED).await?;
                        return Ok(all.iter().any(|it| it.id == key));
                    }
                    let details = json!({ "keyId": key });
                    let about = ("agent", agent.as_str());
                    scribe.tell(tx, &row.company_id, "agent.key_revoked", about, details).await?;
                    let actor = scribe.by.actor();
                    let kept = record(
                        &row.company_id,
                        &actor,
                        "agent.key_revoked",
                        agent.as_str(),
                        &key,
                        scribe.now,
                    );
                    audit::append(tx, kept).await?;
                    Ok(true)
                })
            })
            .await?;
        self.inner.feed.ring();
        if known { Ok(()) } else { Err(EngineError::NotFound("Key")) }
    }

    /// Makes a key for a person; it lives 30 days.
    pub async fn create_board_key(
        &self,
        user: &str,
        name: &str,
        by: &Author,
    ) -> Result<MadeKey<BoardKey>, EngineError> {
        let name = checked(name)?;
        let token = CredentialKind::BoardKey.mint(self.inner.secret());
        let context = (user.to_owned(), name, hash(&token), self.inner.scribe(by));
        let key = self
            .inner
            .write(context, |tx, (user, name, hash, mut scribe)| {
                Box::pin(async move {
                    if users::get(tx, &user).await?.is_none() {
                        return Ok(None);
                    }
                    let id = scribe.id();
                    make_board_key(tx, &user, id, name, hash, &mut scribe).await.map(Some)
                })
            })
            .await?;
        let key = key.ok_or(EngineError::NotFound("User"))?;
        Ok(MadeKey { key, token })
    }

    /// The keys of a person, newest first, revoked and expired ones too.
    pub async fn board_keys(&self, user: &str) -> Result<Vec<BoardKey>, EngineError> {
        let listed = self.inner.read(user.to_owned(), |tx, user| {
            Box::pin(async move { keys::board_keys(tx, &user, None, MOST_LISTED).await })
        });
        Ok(listed.await?)
    }

    /// Revokes a key of a person; false: there was none that was good.
    pub async fn revoke_board_key(&self, user: &str, key: &str, by: &Author) -> Result<bool, EngineError> {
        let context = (user.to_owned(), key.to_owned(), self.inner.scribe(by));
        let revoked = self.inner.write(context, |tx, (user, key, mut scribe)| {
            Box::pin(async move {
                if !keys::revoke_board_key(tx, &user, &key, scribe.now).await? {
                    return Ok(false);
                }
                tell_of_board_key(tx, &mut scribe, &user, &key, "board_api_key.revoked").await?;
                Ok(true)
            })
        });
        Ok(revoked.await?)
    }
}

/// A name that people can tell keys by.
pub(super) fn checked(name: &str) -> Result<String, EngineError> {
    let name = name.trim();
    if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        let hint = "1 to 200 bytes, no control characters";
        return Err(EngineError::Invalid(vec![crate::agents::problem("name", "is not a name", hint)]));
    }
    Ok(name.to_owned())
}

async fn make_agent_key(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    name: String,
    hash: String,
    mut scribe: Scribe,
) -> Result<AgentKey, EngineError> {
    let row = agents::lock(tx, agent).await?.ok_or(EngineError::NotFound("Agent"))?;
    let refused = |text: &str| EngineError::Conflict { message: text.to_owned(), details: None };
    match row.status {
        AgentStatus::PendingApproval => {
            return Err(refused("Cannot create keys for pending approval agents"));
        }
        AgentStatus::Terminated => return Err(refused("Cannot create keys for terminated agents")),
        AgentStatus::Active
        | AgentStatus::Paused
        | AgentStatus::Idle
        | AgentStatus::Running
        | AgentStatus::Error => {}
    }
    let key = AgentKey {
        id: scribe.id(),
        company_id: row.company_id.clone(),
        agent_id: agent.clone(),
        name,
        key_hash: hash,
        last_used_at: None,
        revoked_at: None,
        created_at: scribe.now,
    };
    keys::insert_agent_key(tx, &key).await?;
    let details = json!({ "keyId": key.id, "name": key.name });
    scribe.tell(tx, &row.company_id, "agent.key_created", ("agent", agent.as_str()), details).await?;
    let actor = scribe.by.actor();
    let kept = record(&row.company_id, &actor, "agent.key_created", agent.as_str(), &key.id, scribe.now);
    audit::append(tx, kept).await?;
    Ok(key)
}

/// Adds the key of a person under a given id.
pub(super) async fn make_board_key(
    tx: &mut Tx<'_>,
    user: &str,
    id: String,
    name: String,
    hash: String,
    scribe: &mut Scribe,
) -> Result<BoardKey, StoreError> {
    let key = BoardKey {
        id,
        user_id: user.to_owned(),
        name,
        key_hash: hash,
        last_used_at: None,
        revoked_at: None,
        expires_at: CredentialKind::BoardKey.expires_at(scribe.now),
        created_at: scribe.now,
    };
    keys::insert_board_key(tx, &key).await?;
    tell_of_board_key(tx, scribe, user, &key.id, "board_api_key.created").await?;
    Ok(key)
}

/// Tells every company of a person, and the audit chain, of one of its keys.
async fn tell_of_board_key(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    user: &str,
    key: &str,
    action: &'static str,
) -> Result<(), StoreError> {
    let memberships = users::memberships_of(tx, &users::Principal::user(user), None, MOST_LISTED).await?;
    let companies: Vec<CompanyId> = memberships.into_iter().map(|it| it.company_id).collect();
    for company in &companies {
        let details = json!({ "keyId": key, "userId": user });
        scribe.tell(tx, company, action, ("board_api_key", key), details).await?;
    }
    super::members::keep(tx, None, &scribe.by, action, key, user, scribe.now).await
}
