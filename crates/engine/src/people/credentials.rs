//! From what a request carries to who asks. A credential that matches nothing is refused, in every mode.

use domain::access::credential::{self, Carried, CredentialKind, Mode, Person};
use domain::access::{
    Actor, AgentActor, AgentProof, Grant, LOCAL_USER, MemberRole, Membership, MembershipStatus,
};
use domain::agent::AgentStatus;
use domain::ids::{AgentId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;
use store::keys;
use store::users::{self, Principal};
use store::{StoreError, Tx, agents, companies, runs_of_issues};

use super::hash;
use crate::{Engine, EngineError};

/// The memberships of one person, and the grants in one company, that anybody can have.
const MOST: i64 = 1_000;

impl Engine {
    /// Says who asks: `token` is what the request carries, `is_local_token` that it is the local board token of this
    /// instance (only who holds the file can tell), `run` what the run header says.
    pub async fn authenticate(
        &self,
        mode: Mode,
        token: Option<&str>,
        is_local_token: bool,
        run: Option<RunId>,
    ) -> Result<Actor, EngineError> {
        let now = self.now();
        let carried = match token {
            None => Carried::Nothing,
            Some(_) if is_local_token => Carried::LocalBoardToken,
            Some(token) => self.look_up(mode, token, now).await?,
        };
        let ended = match &carried {
            Carried::RunToken(token) if !token.is_live => {
                token.agent.as_ref().map(|(agent, _)| (token.run.clone(), agent.agent.clone()))
            }
            _ => None,
        };
        let resolved = credential::resolve(mode, carried, run, now);
        if let (Err(refusal), Some((run, agent))) = (&resolved, ended) {
            self.note_refused_token(&run, &agent, "any request", &refusal.text()).await;
        }
        Ok(resolved?)
    }

    async fn look_up(&self, mode: Mode, token: &str, now: Moment) -> Result<Carried, EngineError> {
        let Some(kind) = CredentialKind::of(token) else { return Ok(Carried::Unknown) };
        let found = self
            .inner
            .read((kind, hash(token)), move |tx, (kind, hash)| {
                Box::pin(async move { find(tx, kind, mode, &hash, now).await })
            })
            .await?;
        if let Some(stamp) = found.stamp {
            // Only for people to see when it was used last: nobody waits for it, and a failure is none of theirs.
            let stamped = self
                .inner
                .write(stamp, move |tx, stamp| {
                    Box::pin(async move {
                        match stamp {
                            Stamp::Agent(id) => keys::stamp_agent_key(tx, &id, now).await,
                            Stamp::Board(id) => keys::stamp_board_key(tx, &id, now).await,
                        }
                    })
                })
                .await;
            if let Err(error) = stamped {
                tracing::warn!(%error, "cannot note the use of a key");
            }
        }
        Ok(found.carried)
    }
}

#[derive(Debug, Clone)]
enum Stamp {
    Agent(String),
    Board(String),
}

struct Found {
    carried: Carried,
    stamp: Option<Stamp>,
}

async fn find(
    tx: &mut Tx<'_>,
    kind: CredentialKind,
    mode: Mode,
    hash: &str,
    now: Moment,
) -> Result<Found, StoreError> {
    let unknown = Found { carried: Carried::Unknown, stamp: None };
    Ok(match kind {
        CredentialKind::BoardKey => {
            let Some(key) = keys::board_key(tx, hash, now).await? else { return Ok(unknown) };
            let stamp = key.wants_stamp(now).then(|| Stamp::Board(key.id.clone()));
            let person = person(tx, mode, &key.user_id).await?;
            let carried = Carried::BoardKey(credential::BoardKey {
                id: key.id,
                is_revoked: key.revoked_at.is_some(),
                expires_at: key.expires_at,
                person,
            });
            Found { carried, stamp }
        }
        CredentialKind::AgentKey => {
            let Some(key) = keys::agent_key(tx, hash).await? else { return Ok(unknown) };
            let stamp = key.wants_stamp(now).then(|| Stamp::Agent(key.id.clone()));
            let proof = AgentProof::Key { key_id: key.id.clone(), run: None };
            let agent = agent(tx, &key.agent_id, proof).await?;
            let is_revoked = key.revoked_at.is_some();
            Found {
                carried: Carried::AgentKey(credential::AgentKey { id: key.id, is_revoked, agent }),
                stamp,
            }
        }
        CredentialKind::RunToken => {
            let Some(holder) = runs_of_issues::token_holder(tx, hash).await? else { return Ok(unknown) };
            let agent = agent(tx, &holder.agent_id, AgentProof::Run(holder.run_id.clone())).await?;
            let token = credential::RunToken { run: holder.run_id, is_live: holder.is_live, agent };
            Found { carried: Carried::RunToken(token), stamp: None }
        }
        // It opens its challenge and nothing else.
        CredentialKind::ChallengeSecret => unknown,
    })
}

/// A person with everything that counts for access; none when the user is gone.
async fn person(tx: &mut Tx<'_>, mode: Mode, user: &str) -> Result<Option<Person>, StoreError> {
    let Some(row) = users::get(tx, user).await? else { return Ok(None) };
    let who = Principal::user(user);
    let mut memberships = Vec::new();
    if mode == Mode::LocalTrusted && user == LOCAL_USER {
        // Who sits in front of a trusted instance owns what is on it, with a key as without one.
        for company in companies::list(tx, MOST).await? {
            let (role, status) = (MemberRole::Owner, MembershipStatus::Active);
            memberships.push(Membership {
                company: company.id,
                role,
                status,
                grants: Vec::new(),
                is_untrusted: false,
            });
        }
        return Ok(Some(Person { user: row.id, is_instance_admin: true, memberships }));
    }
    for stored in users::memberships_of(tx, &who, None, MOST).await? {
        let (Some(role), Some(status)) =
            (stored.role.as_deref().and_then(MemberRole::parse), MembershipStatus::parse(&stored.status))
        else {
            // A role of a newer program is none here.
            continue;
        };
        let grants = grants(tx, &stored.company_id, &who).await?;
        let is_untrusted = stored.is_untrusted;
        memberships.push(Membership { company: stored.company_id, role, status, grants, is_untrusted });
    }
    Ok(Some(Person { user: row.id, is_instance_admin: row.is_instance_admin, memberships }))
}

async fn grants(
    tx: &mut Tx<'_>,
    company: &domain::ids::CompanyId,
    who: &Principal,
) -> Result<Vec<Grant>, StoreError> {
    let stored = users::grants_of(tx, company, who, MOST).await?;
    Ok(stored.iter().filter_map(|grant| Grant::parse(&grant.permission_key)).collect())
}

/// An agent as an actor, with its status.
async fn agent(
    tx: &mut Tx<'_>,
    id: &AgentId,
    proof: AgentProof,
) -> Result<Option<(AgentActor, AgentStatus)>, StoreError> {
    let Some(agent) = agents::get(tx, id).await? else { return Ok(None) };
    let who = Principal::agent(id.as_str());
    let is_member = users::membership(tx, &agent.company_id, &who)
        .await?
        .is_some_and(|membership| membership.status == MembershipStatus::Active.as_str());
    let grants = if is_member { grants(tx, &agent.company_id, &who).await? } else { Vec::new() };
    let actor = AgentActor {
        agent: agent.id,
        company: agent.company_id,
        role: agent.role,
        can_create_agents: agent.permissions.get("canCreateAgents").and_then(Json::as_bool),
        grants,
        proof,
    };
    Ok(Some((actor, agent.status)))
}
