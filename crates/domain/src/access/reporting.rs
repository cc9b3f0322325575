//! Who is above whom, and who may be.

use crate::ids::{AgentId, CompanyId};

/// How far up a reporting chain is followed.
pub const MAX_LEVELS: usize = 50;

/// `manager` is above `agent`: found going up from it, at most 50 levels. Chains that run in circles end.
///
/// `reports_to` names whom an agent reports to. Nobody is above itself.
pub fn is_above(
    manager: &AgentId,
    agent: &AgentId,
    reports_to: impl Fn(&AgentId) -> Option<AgentId>,
) -> bool {
    let mut at = agent.clone();
    for _ in 0..MAX_LEVELS {
        match reports_to(&at) {
            Some(above) if above == *agent || above == at => return false,
            Some(above) if above == *manager => return true,
            Some(above) => at = above,
            None => return false,
        }
    }
    false
}

/// Why an agent does not get a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagerMissing {
    /// It would be its own.
    Itself,
    /// There is no such agent.
    Missing,
    /// The manager is of another company.
    Foreign,
    /// The manager is below the agent.
    Circle,
}

impl ManagerMissing {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            ManagerMissing::Itself => "Agent cannot report to itself",
            ManagerMissing::Missing => "Manager not found",
            ManagerMissing::Foreign => "Manager must belong to same company",
            ManagerMissing::Circle => "Reporting relationship would create cycle",
        }
    }
}

/// Lets an agent of a company report to a manager, who is of `manager_company`; of none if there is no such agent.
///
/// `reports_to` names whom an agent reports to now, the manager and whoever is above it.
pub fn manager(
    (agent, company): (&AgentId, &CompanyId),
    (manager, manager_company): (&AgentId, Option<&CompanyId>),
    reports_to: impl Fn(&AgentId) -> Option<AgentId>,
) -> Result<(), ManagerMissing> {
    if agent == manager {
        return Err(ManagerMissing::Itself);
    }
    match manager_company {
        None => Err(ManagerMissing::Missing),
        Some(of) if of != company => Err(ManagerMissing::Foreign),
        Some(_) if is_above(agent, manager, reports_to) => Err(ManagerMissing::Circle),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn id(n: usize) -> AgentId {
        AgentId(format!("a{n}"))
    }

    #[test]
    fn a_manager_is_above_up_to_fifty_levels() {
        let looks = Cell::new(0);
        // Agent n reports to agent n + 1.
        let up = |of: &AgentId| {
            looks.set(looks.get() + 1);
            of.as_str()[1..].parse().ok().map(|n: usize| id(n + 1))
        };
        for (manager, above) in [(0, false), (1, true), (49, true), (50, true), (51, false)] {
            assert_eq!(is_above(&id(manager), &id(0), up), above, "{manager}");
        }
        assert!(!is_above(&id(0), &id(1), up));
        looks.set(0);
        assert!(!is_above(&id(99), &id(0), up));
        assert_eq!(looks.get(), MAX_LEVELS);
    }

    #[test]
    fn circles_and_ends_are_not_above() {
        assert!(!is_above(&id(1), &id(0), |_| None));
        assert!(!is_above(&id(0), &id(0), |_| Some(id(0))));
        // 0 -> 1 -> 0: each has the other above it, and nobody else.
        let circle = |of: &AgentId| Some(if *of == id(0) { id(1) } else { id(0) });
        assert!(is_above(&id(1), &id(0), circle));
        assert!(!is_above(&id(0), &id(0), circle));
        assert!(!is_above(&id(2), &id(0), circle));
        // 0 -> 1 -> 2 -> 1: the circle is further up.
        let above = |of: &AgentId| Some(if *of == id(1) { id(2) } else { id(1) });
        assert!(!is_above(&id(3), &id(0), above));
        assert!(is_above(&id(2), &id(0), above));
    }

    #[test]
    fn a_manager_is_a_colleague_who_is_not_below() {
        let (home, there) = (CompanyId::from("c1"), CompanyId::from("c2"));
        // 3 -> 2 -> 1 -> nobody; 5 and 6 are above each other.
        let above = |of: &AgentId| match of.as_str() {
            "a3" => Some(id(2)),
            "a2" => Some(id(1)),
            "a5" => Some(id(6)),
            "a6" => Some(id(5)),
            _ => None,
        };
        for (agent, boss, of, expected) in [
            (2, 1, Some(&home), Ok(())),
            (3, 1, Some(&home), Ok(())),
            (4, 3, Some(&home), Ok(())),
            (1, 1, Some(&home), Err(ManagerMissing::Itself)),
            (1, 9, None, Err(ManagerMissing::Missing)),
            (1, 9, Some(&there), Err(ManagerMissing::Foreign)),
            (1, 2, Some(&home), Err(ManagerMissing::Circle)),
            (1, 3, Some(&home), Err(ManagerMissing::Circle)),
            // A circle that is there already is not made longer by who reports into it.
            (1, 5, Some(&home), Ok(())),
        ] {
            assert_eq!(manager((&id(agent), &home), (&id(boss), of), above), expected, "{agent} -> {boss}");
        }
        assert_eq!(ManagerMissing::Circle.text(), "Reporting relationship would create cycle");
    }
}
