//! The login of a command line: it makes a challenge, a person approves it, and the key it was handed becomes valid.

use domain::access::challenge::{self as rule, ChallengeStatus, RequestedAccess, Step};
use domain::access::credential::CredentialKind;
use domain::access::{Actor, Board, Refusal};
use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use store::challenges::{self, Challenge};
use store::users::{self, User};
use store::{StoreError, Tx, companies};

use super::keys::make_board_key;
use super::{hash, members};
use crate::activity::{Author, Scribe};
use crate::{Engine, EngineError};

/// Anybody may make a challenge: so many may be open at once on an instance.
const MOST_OPEN: i64 = 200;
/// Expired ones are removed when new ones are made, so many at a time.
const REMOVED_AT_ONCE: i64 = 100;

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeDraft {
    pub command: String,
    pub client_name: Option<String>,
    pub requested: RequestedAccess,
    pub company_id: Option<CompanyId>,
}

/// A challenge that was made a moment ago. Its two secrets are given out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChallenge {
    pub id: String,
    /// What opens the challenge.
    pub secret: String,
    /// The key that becomes valid when it is approved.
    pub board_token: String,
    pub expires_at: Moment,
}

/// A challenge as whoever has its secret sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeView {
    pub challenge: Challenge,
    pub status: ChallengeStatus,
    pub requested: RequestedAccess,
    pub company_name: Option<String>,
    pub approved_by: Option<User>,
    pub requires_sign_in: bool,
    pub can_approve: bool,
}

impl Engine {
    /// Makes a challenge.
    pub async fn create_challenge(&self, draft: ChallengeDraft) -> Result<NewChallenge, EngineError> {
        let command = draft.command.trim();
        let mut problems = Vec::new();
        if command.is_empty() || command.chars().count() > 240 {
            problems.push(crate::agents::problem("command", "is not a command", "1 to 240 characters"));
        }
        if draft.client_name.as_ref().is_some_and(|name| name.chars().count() > 120) {
            problems.push(crate::agents::problem("clientName", "is too long", "at most 120 characters"));
        }
        if !problems.is_empty() {
            return Err(EngineError::Invalid(problems));
        }
        let (secret, board_token) = (
            CredentialKind::ChallengeSecret.mint(self.inner.secret()),
            CredentialKind::BoardKey.mint(self.inner.secret()),
        );
        let now = self.now();
        let expires_at = CredentialKind::ChallengeSecret.expires_at(now).unwrap_or(now);
        let name = draft.client_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let challenge = Challenge {
            id: self.new_id(),
            secret_hash: hash(&secret),
            command: command.to_owned(),
            client_name: name.map(str::to_owned),
            requested_access: draft.requested.as_str().to_owned(),
            requested_company_id: draft.company_id,
            pending_key_hash: hash(&board_token),
            pending_key_name: name.unwrap_or("command line").to_owned(),
            approved_by_user_id: None,
            board_key_id: None,
            approved_at: None,
            cancelled_at: None,
            expires_at,
            created_at: now,
        };
        let id = challenge.id.clone();
        let is_made = self
            .inner
            .write(challenge, move |tx, challenge| {
                Box::pin(async move {
                    challenges::remove_expired(tx, now, REMOVED_AT_ONCE).await?;
                    if challenges::count_unexpired(tx, now).await? >= MOST_OPEN {
                        return Ok(false);
                    }
                    challenges::insert(tx, &challenge).await?;
                    Ok(true)
                })
            })
            .await?;
        if !is_made {
            return Err(EngineError::refused(
                Kind::Conflict,
                "Too many logins wait for a person; try again later",
            ));
        }
        Ok(NewChallenge { id, secret, board_token, expires_at })
    }

    /// Shows a challenge to whoever has its secret.
    pub async fn challenge(
        &self,
        id: &str,
        secret: &str,
        actor: &Actor,
    ) -> Result<ChallengeView, EngineError> {
        let (now, actor) = (self.now(), actor.clone());
        let found = self.inner.read((id.to_owned(), hash(secret)), move |tx, (id, secret)| {
            let actor = actor.clone();
            Box::pin(async move {
                let Some(found) = challenges::with_secret(tx, &id, &secret).await? else { return Ok(None) };
                view(tx, found, &actor, now).await.map(Some)
            })
        });
        found.await?.ok_or_else(|| Refusal::NoChallenge.into())
    }

    /// Approves a challenge: its key is valid from now on. One that was decided before stays as it is.
    pub async fn approve_challenge(
        &self,
        id: &str,
        secret: &str,
        actor: &Actor,
    ) -> Result<ChallengeView, EngineError> {
        let user = match actor {
            Actor::Board(Board { user, .. }) => Some(user.clone()),
            Actor::Nobody | Actor::Agent(_) => None,
        };
        let scribe = self.inner.scribe(&Author::Board { user, may_assign: false });
        let actor = actor.clone();
        let context = (id.to_owned(), hash(secret), scribe);
        self.inner
            .write_unless(context, move |tx, (id, secret, scribe)| {
                let actor = actor.clone();
                Box::pin(async move { approve(tx, &id, &secret, &actor, scribe).await })
            })
            .await
    }

    /// Cancels a challenge; whoever has its secret may.
    pub async fn cancel_challenge(
        &self,
        id: &str,
        secret: &str,
        actor: &Actor,
    ) -> Result<ChallengeView, EngineError> {
        let (now, actor) = (self.now(), actor.clone());
        let found = self.inner.write((id.to_owned(), hash(secret)), move |tx, (id, secret)| {
            let actor = actor.clone();
            Box::pin(async move {
                let Some(found) = challenges::with_secret(tx, &id, &secret).await? else { return Ok(None) };
                if rule::cancel(&known(&found), now) == Step::Done {
                    challenges::cancel(tx, &id, now).await?;
                }
                let Some(found) = challenges::with_secret(tx, &id, &secret).await? else { return Ok(None) };
                view(tx, found, &actor, now).await.map(Some)
            })
        });
        found.await?.ok_or_else(|| Refusal::NoChallenge.into())
    }
}

fn requested(challenge: &Challenge) -> RequestedAccess {
    // What is not known asks for more, never for less.
    RequestedAccess::parse(&challenge.requested_access).unwrap_or(RequestedAccess::InstanceAdmin)
}

fn known(challenge: &Challenge) -> rule::Challenge {
    rule::Challenge {
        requested: requested(challenge),
        expires_at: challenge.expires_at,
        approved_at: challenge.approved_at,
        cancelled_at: challenge.cancelled_at,
    }
}

async fn approve(
    tx: &mut Tx<'_>,
    id: &str,
    secret: &str,
    actor: &Actor,
    mut scribe: Scribe,
) -> Result<ChallengeView, EngineError> {
    let now = scribe.now;
    let missing = || EngineError::from(Refusal::NoChallenge);
    let found = challenges::with_secret(tx, id, secret).await?.ok_or_else(missing)?;
    let rule = known(&found);
    if rule::approve(&rule, actor, now)? == Step::Done {
        let board = rule.approver(actor)?.clone();
        if board.proof.is_local() {
            members::local_user(tx, now).await?;
        }
        let key = scribe.id();
        // Of two approvals at once the first makes the key.
        if challenges::approve(tx, id, &board.user, &key, now).await?.is_some() {
            let (name, hash) = (found.pending_key_name.clone(), found.pending_key_hash.clone());
            make_board_key(tx, &board.user, key, name, hash, &mut scribe).await?;
        }
    }
    let found = challenges::with_secret(tx, id, secret).await?.ok_or_else(missing)?;
    Ok(view(tx, found, actor, now).await?)
}

async fn view(
    tx: &mut Tx<'_>,
    challenge: Challenge,
    actor: &Actor,
    now: Moment,
) -> Result<ChallengeView, StoreError> {
    let rule = known(&challenge);
    let company_name = match &challenge.requested_company_id {
        Some(company) => companies::get(tx, company).await?.map(|company| company.name),
        None => None,
    };
    let approved_by = match &challenge.approved_by_user_id {
        Some(user) => users::get(tx, user).await?,
        None => None,
    };
    Ok(ChallengeView {
        status: rule.status(now),
        requested: rule.requested,
        company_name,
        approved_by,
        requires_sign_in: rule.requires_sign_in(actor),
        can_approve: rule.can_approve(actor, now),
        challenge,
    })
}
