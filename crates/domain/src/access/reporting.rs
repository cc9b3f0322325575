//! Who is above whom.

use crate::ids::AgentId;

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
}
