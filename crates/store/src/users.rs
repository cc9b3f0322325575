//! Users, who belongs to which company, and what they may do there.
//!
//! A *principal* is a user or an agent. A grant counts only while its principal is an active member. Who may do what is
//! decided by the rules, not here.

use domain::ids::CompanyId;
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub name: String,
    /// In the form in which addresses are compared; the caller has brought it into that form.
    pub email: Option<String>,
    pub is_instance_admin: bool,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(User { id, name, email, is_instance_admin, created_at, updated_at });

macro_rules! columns {
    () => {
        "id, name, email, is_instance_admin, created_at, updated_at"
    };
}

/// Adds a user; returns false, and adds nothing, when the id or the address is taken.
pub async fn insert(tx: &mut Tx<'_>, user: &User) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO users (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
            )),
            p![&user.id, &user.name, &user.email, user.is_instance_admin, user.created_at, user.updated_at],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one user.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<User>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM users WHERE id = $1")), p![id]).await
}

/// Returns the user with an address.
pub async fn with_email(tx: &mut Tx<'_>, email: &str) -> Result<Option<User>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM users WHERE email = $1")), p![email]).await
}

/// Returns all users, oldest first, after the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM users WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3"
        )),
        p![at, id, limit],
    )
    .await
}

/// Makes a user an administrator of the instance, or takes that away; false: there is no such user.
pub async fn set_instance_admin(
    tx: &mut Tx<'_>,
    id: &str,
    admin: bool,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!("UPDATE users SET is_instance_admin = $2, updated_at = $3 WHERE id = $1"),
            p![id, admin, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Whether the instance has an administrator: until then the first one is still to be made.
pub async fn has_instance_admin(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    Ok(tx.one(sql!("SELECT id FROM users WHERE is_instance_admin LIMIT 1"), p![]).await?.is_some())
}

/// A user or an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// `user` or `agent`.
    pub kind: String,
    pub id: String,
}

impl Principal {
    pub fn user(id: &str) -> Principal {
        Principal { kind: "user".into(), id: id.into() }
    }

    pub fn agent(id: &str) -> Principal {
        Principal { kind: "agent".into(), id: id.into() }
    }
}

/// That somebody belongs to a company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub id: String,
    pub company_id: CompanyId,
    pub principal_type: String,
    pub principal_id: String,
    /// `active`, `pending` or `suspended`.
    pub status: String,
    /// `owner`, `admin`, `member` or `viewer`; agents may have none.
    pub role: Option<String>,
    /// What they write is held. Changed by [`set_untrusted`] alone.
    pub is_untrusted: bool,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Membership {
    id,
    company_id,
    principal_type,
    principal_id,
    status,
    role,
    is_untrusted,
    created_at,
    updated_at
});

macro_rules! membership_columns {
    () => {
        "id, company_id, principal_type, principal_id, status, role, is_untrusted, created_at, updated_at"
    };
}

/// Makes somebody a member of a company, or changes the status and role of a member; returns the membership.
pub async fn save_membership(
    tx: &mut Tx<'_>,
    membership: &Membership,
) -> Result<Option<Membership>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "INSERT INTO memberships (",
            membership_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (company_id, principal_type, principal_id) \
             DO UPDATE SET status = excluded.status, role = excluded.role, updated_at = excluded.updated_at RETURNING ",
            membership_columns!()
        )),
        p![
            &membership.id,
            &membership.company_id,
            &membership.principal_type,
            &membership.principal_id,
            &membership.status,
            &membership.role,
            membership.is_untrusted,
            membership.created_at,
            membership.updated_at
        ],
    )
    .await
}

/// Says whether what a member writes is held; false: there is no such member.
pub async fn set_untrusted(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
    is_untrusted: bool,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE memberships SET is_untrusted = $4, updated_at = $5 \
                 WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3"
            ),
            p![company, &who.kind, &who.id, is_untrusted, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns the membership of a principal in a company.
pub async fn membership(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
) -> Result<Option<Membership>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            membership_columns!(),
            " FROM memberships WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3"
        )),
        p![company, &who.kind, &who.id],
    )
    .await
}

/// Returns the memberships of a principal, by company, after the given one.
pub async fn memberships_of(
    tx: &mut Tx<'_>,
    who: &Principal,
    after: Option<&CompanyId>,
    limit: i64,
) -> Result<Vec<Membership>, StoreError> {
    let after = after.map_or("", CompanyId::as_str);
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            membership_columns!(),
            " FROM memberships WHERE principal_type = $1 AND principal_id = $2 AND company_id > $3 \
             ORDER BY company_id LIMIT $4"
        )),
        p![&who.kind, &who.id, after, limit],
    )
    .await
}

/// Returns the members of a company of one kind (`user` or `agent`), oldest first, after the given place.
pub async fn members(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    kind: &str,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Membership>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            membership_columns!(),
            " FROM memberships WHERE company_id = $1 AND principal_type = $2 AND (created_at, id) > ($3, $4) \
             ORDER BY created_at, id LIMIT $5"
        )),
        p![company, kind, at, id, limit],
    )
    .await
}

/// Counts the active owners of a company, and locks them until the transaction ends: the last one must not go.
pub async fn lock_owners(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<i64, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT principal_id FROM memberships WHERE company_id = $1 AND principal_type = 'user' \
                 AND status = 'active' AND role = 'owner' ORDER BY principal_id LIMIT $2 /*+for_update*/"
            ),
            p![company, limit],
        )
        .await?;
    Ok(rows.len() as i64)
}

/// Ends a membership with its grants; false: there was none.
pub async fn remove_membership(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
) -> Result<bool, StoreError> {
    tx.run(
        sql!(
            "DELETE FROM permission_grants WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3"
        ),
        p![company, &who.kind, &who.id],
    )
    .await?;
    let removed = tx
        .exec(
            sql!(
                "DELETE FROM memberships WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3"
            ),
            p![company, &who.kind, &who.id],
        )
        .await?;
    Ok(removed == 1)
}

/// One thing that a principal may do in a company.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub id: String,
    pub company_id: CompanyId,
    pub principal_type: String,
    pub principal_id: String,
    pub permission_key: String,
    pub scope: Option<Json>,
    pub granted_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Grant {
    id,
    company_id,
    principal_type,
    principal_id,
    permission_key,
    scope,
    granted_by_user_id,
    created_at,
    updated_at
});

macro_rules! grant_columns {
    () => {
        "id, company_id, principal_type, principal_id, permission_key, scope, granted_by_user_id, created_at, \
         updated_at"
    };
}

/// Grants something, or changes the scope of what was granted.
pub async fn grant(tx: &mut Tx<'_>, grant: &Grant) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO permission_grants (",
            grant_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (company_id, principal_type, principal_id, permission_key) DO UPDATE SET \
             scope = excluded.scope, granted_by_user_id = excluded.granted_by_user_id, \
             updated_at = excluded.updated_at"
        )),
        p![
            &grant.id,
            &grant.company_id,
            &grant.principal_type,
            &grant.principal_id,
            &grant.permission_key,
            &grant.scope,
            &grant.granted_by_user_id,
            grant.created_at,
            grant.updated_at
        ],
    )
    .await
}

/// Takes a grant back; false: there was none.
pub async fn revoke_grant(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
    key: &str,
) -> Result<bool, StoreError> {
    let removed = tx
        .exec(
            sql!(
                "DELETE FROM permission_grants WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3 \
                 AND permission_key = $4"
            ),
            p![company, &who.kind, &who.id, key],
        )
        .await?;
    Ok(removed == 1)
}

/// Returns what was granted to a principal in a company, by key, whether it is an active member or not.
pub async fn grants_of(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
    limit: i64,
) -> Result<Vec<Grant>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            grant_columns!(),
            " FROM permission_grants WHERE company_id = $1 AND principal_type = $2 AND principal_id = $3 \
             ORDER BY permission_key LIMIT $4"
        )),
        p![company, &who.kind, &who.id, limit],
    )
    .await
}

/// Whether a principal holds a grant and is an active member of the company.
pub async fn holds_grant(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    who: &Principal,
    key: &str,
) -> Result<bool, StoreError> {
    let found = tx
        .one(
            sql!(
                "SELECT g.id FROM permission_grants g JOIN memberships m ON m.company_id = g.company_id \
                 AND m.principal_type = g.principal_type AND m.principal_id = g.principal_id \
                 WHERE g.company_id = $1 AND g.principal_type = $2 AND g.principal_id = $3 \
                 AND g.permission_key = $4 AND m.status = 'active'"
            ),
            p![company, &who.kind, &who.id, key],
        )
        .await?;
    Ok(found.is_some())
}
