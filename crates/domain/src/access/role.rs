//! What members of a company are, and what that grants them.

use crate::ids::CompanyId;
use crate::words;

words!(
    /// A single right within a company (spec/api.md 2.3).
    Grant {
        CreateAgents = "agents:create",
        ManageEnvironments = "environments:manage",
        InviteUsers = "users:invite",
        ManagePermissions = "users:manage_permissions",
        AssignTasks = "tasks:assign",
        AssignTasksInScope = "tasks:assign_scope",
        ManageActiveCheckouts = "tasks:manage_active_checkouts",
        ApproveJoins = "joins:approve",
    }
);

words!(
    /// What a person is in a company.
    MemberRole {
        /// Everything.
        Owner = "owner",
        /// Everything but the rights of others.
        Admin = "admin",
        /// Works with tasks.
        Member = "member",
        /// Reads.
        Viewer = "viewer",
    }
);

words!(
    /// Whether a membership counts.
    MembershipStatus { Pending = "pending", Active = "active", Suspended = "suspended" }
);

impl MemberRole {
    /// The role has this right without being given it.
    pub const fn implies(self, grant: Grant) -> bool {
        match self {
            MemberRole::Owner => true,
            MemberRole::Admin => !matches!(grant, Grant::ManagePermissions),
            MemberRole::Member => matches!(grant, Grant::AssignTasks),
            MemberRole::Viewer => false,
        }
    }
}

/// What a person is in one company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub company: CompanyId,
    pub role: MemberRole,
    pub status: MembershipStatus,
    /// Given beside what the role implies.
    pub grants: Vec<Grant>,
    /// What they write is held until somebody releases it, and they change nothing else.
    pub is_untrusted: bool,
}

impl Membership {
    /// It counts.
    pub fn is_active(&self) -> bool {
        self.status == MembershipStatus::Active
    }

    /// Has the right; only an active membership has any.
    pub fn has(&self, grant: Grant) -> bool {
        self.is_active() && (self.role.implies(grant) || self.grants.contains(&grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_imply_grants() {
        let rows = [
            (
                MemberRole::Owner,
                "agents:create environments:manage users:invite users:manage_permissions tasks:assign tasks:assign_scope tasks:manage_active_checkouts joins:approve",
            ),
            (
                MemberRole::Admin,
                "agents:create environments:manage users:invite tasks:assign tasks:assign_scope tasks:manage_active_checkouts joins:approve",
            ),
            (MemberRole::Member, "tasks:assign"),
            (MemberRole::Viewer, ""),
        ];
        for (role, implied) in rows {
            let found: Vec<&str> =
                Grant::ALL.iter().filter(|grant| role.implies(**grant)).map(|grant| grant.as_str()).collect();
            assert_eq!(found.join(" "), implied, "{role}");
        }
    }

    #[test]
    fn only_an_active_membership_grants_anything() {
        for &status in MembershipStatus::ALL {
            let membership = Membership {
                company: CompanyId::from("c"),
                role: MemberRole::Member,
                status,
                grants: vec![Grant::CreateAgents],
                is_untrusted: false,
            };
            let is_active = status == MembershipStatus::Active;
            assert_eq!(membership.is_active(), is_active);
            assert_eq!(membership.has(Grant::CreateAgents), is_active);
            assert_eq!(membership.has(Grant::AssignTasks), is_active);
            assert!(!membership.has(Grant::InviteUsers));
        }
    }
}
