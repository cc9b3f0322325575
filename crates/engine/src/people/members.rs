//! Users, who belongs to which company, and what they were given beside their role.

use domain::access::{Grant, LOCAL_USER, MemberRole, MembershipStatus};
use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::json;
use store::audit::{self, AuditRecord};
use store::keys::BoardKey;
use store::users::{self, Membership, Principal, User};
use store::{StoreError, Tx, companies};

use super::hash;
use super::keys::{self, MadeKey, checked};
use crate::activity::Author;
use crate::{Engine, EngineError};

/// The longest list of people.
const MOST_LISTED: i64 = 1_000;
/// The setting that remembers who was the first administrator.
const FIRST: &str = "first_administrator";

impl Engine {
    /// Whether the instance still waits for its first administrator.
    pub async fn needs_first_admin(&self) -> Result<bool, EngineError> {
        let has = self.inner.read((), |tx, ()| Box::pin(users::has_instance_admin(tx)));
        Ok(!has.await?)
    }

    /// Makes the first administrator, with a key. There is one first: whoever comes second is refused.
    pub async fn create_first_admin(
        &self,
        name: &str,
        email: Option<&str>,
    ) -> Result<(User, MadeKey<BoardKey>), EngineError> {
        let (name, email) = (checked(name)?, address(email)?);
        let token = domain::access::credential::CredentialKind::BoardKey.mint(self.inner.secret());
        let by = Author::System { part: "first_administrator" };
        let context = (name, email, hash(&token), self.inner.scribe(&by));
        let made = self
            .inner
            .write(context, |tx, (name, email, hash, mut scribe)| {
                Box::pin(async move {
                    let now = scribe.now;
                    let user = user(scribe.id(), name, email, true, now);
                    // Of two at once, the second waits for this row and then finds it taken.
                    if users::has_instance_admin(tx).await?
                        || !store::instance_settings::claim(tx, FIRST, &user.id, now).await?
                    {
                        return Ok(None);
                    }
                    if !users::insert(tx, &user).await? {
                        return Ok(None);
                    }
                    let id = scribe.id();
                    let key =
                        keys::make_board_key(tx, &user.id, id, "first".to_owned(), hash, &mut scribe).await?;
                    keep(tx, None, &scribe.by, "user.created", &user.id, "first administrator", now).await?;
                    Ok(Some((user, key)))
                })
            })
            .await?;
        let (user, key) = made.ok_or_else(|| {
            EngineError::refused(Kind::Conflict, "The instance has its first administrator already")
        })?;
        Ok((user, MadeKey { key, token }))
    }

    /// Makes a user.
    pub async fn create_user(
        &self,
        name: &str,
        email: Option<&str>,
        is_instance_admin: bool,
        by: &Author,
    ) -> Result<User, EngineError> {
        let (name, email) = (checked(name)?, address(email)?);
        let context = (name, email, self.inner.scribe(by));
        let made = self
            .inner
            .write(context, move |tx, (name, email, mut scribe)| {
                Box::pin(async move {
                    let user = user(scribe.id(), name, email, is_instance_admin, scribe.now);
                    if !users::insert(tx, &user).await? {
                        return Ok(None);
                    }
                    let words = if is_instance_admin { "administrator" } else { "" };
                    keep(tx, None, &scribe.by, "user.created", &user.id, words, scribe.now).await?;
                    Ok(Some(user))
                })
            })
            .await?;
        made.ok_or_else(|| EngineError::refused(Kind::Conflict, "A user with this address exists already"))
    }

    /// All users, oldest first, after the given place.
    pub async fn users(&self, after: Option<(Moment, String)>, limit: i64) -> Result<Vec<User>, EngineError> {
        let listed = self.inner.read(after, move |tx, after| {
            Box::pin(async move { users::list(tx, after, limit.clamp(1, MOST_LISTED)).await })
        });
        Ok(listed.await?)
    }

    /// One user.
    pub async fn user(&self, id: &str) -> Result<Option<User>, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { users::get(tx, &id).await }));
        Ok(found.await?)
    }

    /// The user with an address.
    pub async fn user_with_email(&self, email: &str) -> Result<Option<User>, EngineError> {
        let Some(email) = address(Some(email))? else { return Ok(None) };
        let found =
            self.inner.read(email, |tx, email| Box::pin(async move { users::with_email(tx, &email).await }));
        Ok(found.await?)
    }

    /// Makes a user an administrator of the instance, or takes that away.
    pub async fn set_instance_admin(&self, user: &str, admin: bool, by: &Author) -> Result<(), EngineError> {
        let context = (user.to_owned(), self.inner.scribe(by));
        let known = self
            .inner
            .write(context, move |tx, (user, scribe)| {
                Box::pin(async move {
                    let known = users::set_instance_admin(tx, &user, admin, scribe.now).await?;
                    if known {
                        let words = if admin { "administrator" } else { "not an administrator" };
                        keep(tx, None, &scribe.by, "user.admin_changed", &user, words, scribe.now).await?;
                    }
                    Ok(known)
                })
            })
            .await?;
        if known { Ok(()) } else { Err(EngineError::NotFound("User")) }
    }

    /// Makes somebody a member of a company, or changes what they are there. A company keeps an owner.
    pub async fn set_member(
        &self,
        company: &CompanyId,
        user: &str,
        role: MemberRole,
        status: MembershipStatus,
        by: &Author,
    ) -> Result<Membership, EngineError> {
        self.set_member_trusted(company, user, (role, status, None), by).await
    }

    /// The same, with whether the company trusts them; `None`: as before, which at first is yes. Owners and admins are
    /// trusted.
    pub async fn set_member_trusted(
        &self,
        company: &CompanyId,
        user: &str,
        (role, status, is_trusted): (MemberRole, MembershipStatus, Option<bool>),
        by: &Author,
    ) -> Result<Membership, EngineError> {
        let context = (company.clone(), user.to_owned(), self.inner.scribe(by));
        self.inner
            .write_unless(context, move |tx, (company, user, mut scribe)| {
                Box::pin(async move {
                    if companies::get(tx, &company).await?.is_none() {
                        return Err(EngineError::NotFound("Company"));
                    }
                    if users::get(tx, &user).await?.is_none() {
                        return Err(EngineError::NotFound("User"));
                    }
                    let stays = role == MemberRole::Owner && status == MembershipStatus::Active;
                    let before = users::membership(tx, &company, &Principal::user(&user)).await?;
                    let was_untrusted = before.is_some_and(|before| before.is_untrusted);
                    let is_untrusted = is_trusted.map_or(was_untrusted, |is_trusted| !is_trusted);
                    if is_untrusted && matches!(role, MemberRole::Owner | MemberRole::Admin) {
                        return Err(must_be_trusted());
                    }
                    if !stays && is_last_owner(tx, &company, &user).await? {
                        return Err(last_owner());
                    }
                    let membership = Membership {
                        id: scribe.id(),
                        company_id: company.clone(),
                        principal_type: "user".to_owned(),
                        principal_id: user.clone(),
                        status: status.as_str().to_owned(),
                        role: Some(role.as_str().to_owned()),
                        is_untrusted,
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    let saved = users::save_membership(tx, &membership).await?.unwrap_or(membership);
                    let saved = Membership { is_untrusted, ..saved };
                    if is_trusted.is_some() {
                        let who = Principal::user(&user);
                        users::set_untrusted(tx, &company, &who, is_untrusted, scribe.now).await?;
                    }
                    let mut details = json!({ "userId": user, "role": role, "status": status });
                    if let Some(is_trusted) = is_trusted {
                        details["trusted"] = is_trusted.into();
                    }
                    let words = details.to_string();
                    let about = ("membership", saved.id.as_str());
                    scribe.tell(tx, &company, "member.updated", about, details).await?;
                    let by = &scribe.by;
                    keep(tx, Some(&company), by, "member.updated", &user, &words, scribe.now).await?;
                    Ok(saved)
                })
            })
            .await
    }

    /// Ends a membership with everything that was given with it. A company keeps an owner.
    pub async fn remove_member(
        &self,
        company: &CompanyId,
        user: &str,
        by: &Author,
    ) -> Result<(), EngineError> {
        let context = (company.clone(), user.to_owned(), self.inner.scribe(by));
        self.inner
            .write_unless(context, |tx, (company, user, mut scribe)| {
                Box::pin(async move {
                    if is_last_owner(tx, &company, &user).await? {
                        return Err(last_owner());
                    }
                    if !users::remove_membership(tx, &company, &Principal::user(&user)).await? {
                        return Err(EngineError::NotFound("Member"));
                    }
                    let details = json!({ "userId": user });
                    scribe.tell(tx, &company, "member.removed", ("user", &user), details).await?;
                    keep(tx, Some(&company), &scribe.by, "member.removed", &user, "", scribe.now).await?;
                    Ok(())
                })
            })
            .await
    }

    /// The people of a company, oldest first.
    pub async fn members(&self, company: &CompanyId) -> Result<Vec<Membership>, EngineError> {
        let listed = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { users::members(tx, &company, "user", None, MOST_LISTED).await })
        });
        Ok(listed.await?)
    }

    /// What a person is in each company.
    pub async fn memberships(&self, user: &str) -> Result<Vec<Membership>, EngineError> {
        let listed = self.inner.read(Principal::user(user), |tx, who| {
            Box::pin(async move { users::memberships_of(tx, &who, None, MOST_LISTED).await })
        });
        Ok(listed.await?)
    }

    /// Gives a right to a member of a company, or takes it back. An agent becomes a member with its first right.
    pub async fn set_grant(
        &self,
        company: &CompanyId,
        who: Principal,
        grant: Grant,
        is_given: bool,
        by: &Author,
    ) -> Result<(), EngineError> {
        let context = (company.clone(), who, self.inner.scribe(by));
        self.inner
            .write_unless(context, move |tx, (company, who, mut scribe)| {
                Box::pin(async move {
                    let now = scribe.now;
                    if !is_given {
                        users::revoke_grant(tx, &company, &who, grant.as_str()).await?;
                    } else {
                        if users::membership(tx, &company, &who).await?.is_none() {
                            let is_ours = who.kind == "agent"
                                && store::agents::get(tx, &domain::ids::AgentId(who.id.clone()))
                                    .await?
                                    .is_some_and(|agent| agent.company_id == company);
                            if !is_ours {
                                return Err(EngineError::NotFound("Member"));
                            }
                            let membership = Membership {
                                id: scribe.id(),
                                company_id: company.clone(),
                                principal_type: who.kind.clone(),
                                principal_id: who.id.clone(),
                                status: MembershipStatus::Active.as_str().to_owned(),
                                role: None,
                                is_untrusted: false,
                                created_at: now,
                                updated_at: now,
                            };
                            users::save_membership(tx, &membership).await?;
                        }
                        let given = users::Grant {
                            id: scribe.id(),
                            company_id: company.clone(),
                            principal_type: who.kind.clone(),
                            principal_id: who.id.clone(),
                            permission_key: grant.as_str().to_owned(),
                            scope: None,
                            granted_by_user_id: scribe.by.user_id(),
                            created_at: now,
                            updated_at: now,
                        };
                        users::grant(tx, &given).await?;
                    }
                    let words = format!("{grant}: {is_given}");
                    keep(tx, Some(&company), &scribe.by, "member.grant_changed", &who.id, &words, now)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

fn user(id: String, name: String, email: Option<String>, is_instance_admin: bool, now: Moment) -> User {
    User { id, name, email, is_instance_admin, created_at: now, updated_at: now }
}

/// The user that stands for the board of a trusted instance: its keys need one.
pub(super) async fn local_user(tx: &mut Tx<'_>, now: Moment) -> Result<(), StoreError> {
    let local = user(LOCAL_USER.to_owned(), "Local Board".to_owned(), None, false, now);
    users::insert(tx, &local).await.map(|_| ())
}

/// An address in the form in which addresses are compared.
fn address(email: Option<&str>) -> Result<Option<String>, EngineError> {
    let Some(email) = email.map(str::trim).filter(|email| !email.is_empty()) else { return Ok(None) };
    let is_one = email.len() <= 320
        && email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    if !is_one {
        let hint = "for example ada@example.org";
        return Err(EngineError::Invalid(vec![crate::agents::problem("email", "is not an address", hint)]));
    }
    Ok(Some(email.to_lowercase()))
}

fn must_be_trusted() -> EngineError {
    let words = "Owners and admins are trusted: give another role, or trust the member first";
    EngineError::refused(Kind::Unprocessable, words)
}

fn last_owner() -> EngineError {
    EngineError::refused(Kind::Conflict, "The last owner of a company cannot leave it")
}

async fn is_last_owner(tx: &mut Tx<'_>, company: &CompanyId, user: &str) -> Result<bool, StoreError> {
    // Locked first: of two owners who leave at once, the second sees that the first is gone.
    let owners = users::lock_owners(tx, company, MOST_LISTED).await?;
    let is_owner = users::membership(tx, company, &Principal::user(user)).await?.is_some_and(|it| {
        it.role.as_deref() == Some(MemberRole::Owner.as_str())
            && it.status == MembershipStatus::Active.as_str()
    });
    Ok(is_owner && owners <= 1)
}

/// Keeps a record in the audit chain, of a company or of the whole instance.
pub(super) async fn keep(
    tx: &mut Tx<'_>,
    company: Option<&CompanyId>,
    by: &Author,
    action: &str,
    subject: &str,
    words: &str,
    now: Moment,
) -> Result<(), StoreError> {
    let actor = by.actor();
    let record = AuditRecord {
        company_id: company.map(|company| company.0.clone()),
        actor: format!("{}:{}", actor.kind, actor.id.as_deref().unwrap_or("-")),
        action: action.to_owned(),
        subject: subject.to_owned(),
        details_json: json!({ "words": words }).to_string(),
        at: now.micros(),
    };
    audit::append(tx, record).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_one_form() {
        assert_eq!(address(Some(" Ada@Example.ORG ")).unwrap(), Some("ada@example.org".to_owned()));
        assert_eq!(address(Some("  ")).unwrap(), None);
        assert_eq!(address(None).unwrap(), None);
        for wrong in ["ada", "@b", "a@", "a b@c", "a@b\n"] {
            let trimmed_is_fine = wrong == "a@b\n";
            assert_eq!(address(Some(wrong)).is_ok(), trimmed_is_fine, "{wrong:?}");
        }
    }
}
