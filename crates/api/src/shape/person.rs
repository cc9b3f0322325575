//! People, their keys and their logins on the wire. The text of a key is shown once, when it is made.

use domain::access::{Board, Proof};
use domain::moment::Moment;
use engine::{ChallengeView, NewChallenge};
use serde::Serialize;
use store::keys::{AgentKey as AgentKeyRow, BoardKey as BoardKeyRow};
use store::users::{Membership as MembershipRow, User as UserRow};
use utoipa::ToSchema;

/// A key of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentKey {
    id: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Moment>,
}

impl From<AgentKeyRow> for AgentKey {
    fn from(row: AgentKeyRow) -> AgentKey {
        AgentKey {
            id: row.id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// A key that was made this moment: its text is not shown again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyCreated {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) expires_at: Option<Moment>,
}

/// A key of a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BoardKey {
    id: String,
    user_id: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    expires_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Moment>,
}

impl From<BoardKeyRow> for BoardKey {
    fn from(row: BoardKeyRow) -> BoardKey {
        BoardKey {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    id: String,
    name: String,
    email: Option<String>,
    is_instance_admin: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> User {
        User {
            id: row.id,
            name: row.name,
            email: row.email,
            is_instance_admin: row.is_instance_admin,
            created_at: row.created_at,
        }
    }
}

/// A person, in short.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserRef {
    id: String,
    name: String,
    email: Option<String>,
}

impl From<UserRow> for UserRef {
    fn from(row: UserRow) -> UserRef {
        UserRef { id: row.id, name: row.name, email: row.email }
    }
}

/// What somebody is in a company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Membership {
    id: String,
    company_id: String,
    /// `user` or `agent`.
    principal_type: String,
    principal_id: String,
    /// `active`, `pending` or `suspended`.
    status: String,
    /// `owner`, `admin`, `member` or `viewer`; agents have none.
    membership_role: Option<String>,
    /// False: what they write is held until a trusted member releases it.
    trusted: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<MembershipRow> for Membership {
    fn from(row: MembershipRow) -> Membership {
        Membership {
            id: row.id,
            company_id: row.company_id.0,
            principal_type: row.principal_type,
            principal_id: row.principal_id,
            status: row.status,
            membership_role: row.role,
            trusted: !row.is_untrusted,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A member of a company, with who that is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    #[serde(flatten)]
    pub(crate) membership: Membership,
    /// Null when the person is gone.
    pub(crate) user: Option<UserRef>,
}

/// Whom a request comes from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    user: Option<UserRef>,
    user_id: String,
    is_instance_admin: bool,
    company_ids: Vec<String>,
    memberships: Vec<Membership>,
    /// `local_implicit` or `board_key`.
    source: &'static str,
    key_id: Option<String>,
}

impl Me {
    pub(crate) fn new(
        board: &Board,
        user: Option<UserRow>,
        companies: Vec<String>,
        memberships: Vec<MembershipRow>,
    ) -> Me {
        let key_id = match &board.proof {
            Proof::BoardKey { key_id } => Some(key_id.clone()),
            Proof::LocalImplicit | Proof::LocalToken | Proof::Session => None,
        };
        Me {
            user: user.map(UserRef::from),
            user_id: board.user.clone(),
            is_instance_admin: board.has_all_grants(),
            company_ids: companies,
            memberships: memberships.into_iter().map(Membership::from).collect(),
            source: board.proof.source(),
            key_id,
        }
    }
}

/// A login that waits for a person. Its two secrets are shown once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeCreated {
    id: String,
    /// What opens the challenge.
    token: String,
    /// The key; it becomes valid when a person approves.
    board_api_token: String,
    /// Says which command approves it.
    approval_path: String,
    /// Null: there is no page to approve on.
    approval_url: Option<String>,
    /// Relative to `/api`.
    poll_path: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
    suggested_poll_interval_ms: u64,
}

impl From<NewChallenge> for ChallengeCreated {
    fn from(made: NewChallenge) -> ChallengeCreated {
        ChallengeCreated {
            approval_path: format!("/cli-auth/{}?token={}", made.id, made.secret),
            approval_url: None,
            poll_path: format!("/cli-auth/challenges/{}", made.id),
            id: made.id,
            token: made.secret,
            board_api_token: made.board_token,
            expires_at: made.expires_at,
            suggested_poll_interval_ms: domain::access::challenge::POLL_EVERY_MS,
        }
    }
}

/// Where a login stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeState {
    id: String,
    /// `pending`, `approved`, `cancelled` or `expired`.
    status: &'static str,
    command: String,
    client_name: Option<String>,
    /// `board` or `instance_admin_required`.
    requested_access: &'static str,
    requested_company_id: Option<String>,
    requested_company_name: Option<String>,
    #[schema(value_type = Option<String>)]
    approved_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cancelled_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
    approved_by_user: Option<UserRef>,
    requires_sign_in: bool,
    can_approve: bool,
    current_user_id: Option<String>,
}

impl ChallengeState {
    pub(crate) fn new(view: ChallengeView, current: Option<String>) -> ChallengeState {
        let challenge = view.challenge;
        ChallengeState {
            id: challenge.id,
            status: view.status.as_str(),
            command: challenge.command,
            client_name: challenge.client_name,
            requested_access: view.requested.as_str(),
            requested_company_id: challenge.requested_company_id.map(|id| id.0),
            requested_company_name: view.company_name,
            approved_at: challenge.approved_at,
            cancelled_at: challenge.cancelled_at,
            expires_at: challenge.expires_at,
            approved_by_user: view.approved_by.map(UserRef::from),
            requires_sign_in: view.requires_sign_in,
            can_approve: view.can_approve,
            current_user_id: current,
        }
    }
}

/// The answer to an approval of a login.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeApproved {
    pub(crate) approved: bool,
    pub(crate) status: &'static str,
    pub(crate) user_id: String,
    pub(crate) key_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Moment,
}

/// The answer to the end of a login.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChallengeCancelled {
    pub(crate) status: &'static str,
    pub(crate) cancelled: bool,
}

/// A key that is not valid any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRevoked {
    pub(crate) revoked: bool,
    pub(crate) key_id: String,
}

/// The first administrator, with a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FirstAdministrator {
    pub(crate) user: User,
    pub(crate) key: KeyCreated,
}
