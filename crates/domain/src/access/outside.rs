//! Texts from outside: what somebody writes whom the company does not trust, and who lets it go on.
//!
//! Such a text could tell an agent anything, and an agent that reads it has the rights of its run. So it is put where no
//! agent reads, and what waits on its issue is held (`claim::gate`) until a person who is trusted has seen it and said so.
//! A person decides about the texts that were seen, by name: what comes meanwhile is not among them.

use super::{Actor, Membership};
use crate::ids::CompanyId;
use crate::words;

words!(
    /// What a person decided about a text from outside.
    Decision {
        /// Agents may read it.
        Released = "released",
        /// No agent ever reads it.
        Refused = "refused",
    }
);

/// Whether what an actor writes in a company is a text from outside. `says_so`: whoever hands a text on may say of it that
/// it is from outside, as a bridge to another system does; nobody says the opposite of himself.
pub fn is_from_outside(actor: &Actor, company: &CompanyId, says_so: bool) -> bool {
    let is_untrusted = match actor {
        Actor::Board(board) if !board.has_all_grants() => board.membership(company).is_some_and(is_untrusted),
        // Who has a rank above members, and agents, whose texts come out of runs that were let go on.
        Actor::Board(_) | Actor::Agent(_) | Actor::Nobody => false,
    };
    says_so || is_untrusted
}

fn is_untrusted(membership: &Membership) -> bool {
    membership.is_untrusted
}

/// A text of an issue, as far as deciding about it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub id: String,
    /// It is the title and the description of an issue that is open.
    pub is_open_issue: bool,
    /// `None`: it waits.
    pub decision: Option<Decision>,
}

/// Why nothing is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The issue has no such text.
    Unknown(String),
    /// Somebody decided otherwise.
    Decided(String, Decision),
    /// An issue without its text is none: it is cancelled, or deleted.
    WholeIssue,
}

/// The texts that a decision is about and that wait still, in the order asked; what was decided the same before needs
/// nothing.
pub fn decide(held: &[Held], asked: &[String], decision: Decision) -> Result<Vec<String>, Misfit> {
    let mut due: Vec<String> = Vec::new();
    for id in asked {
        let text = held.iter().find(|text| text.id == *id).ok_or_else(|| Misfit::Unknown(id.clone()))?;
        match text.decision {
            Some(before) if before == decision => {}
            Some(before) => return Err(Misfit::Decided(id.clone(), before)),
            None if text.is_open_issue && decision == Decision::Refused => return Err(Misfit::WholeIssue),
            None if due.contains(id) => {}
            None => due.push(id.clone()),
        }
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, home, local, person};
    use super::super::{MemberRole, MembershipStatus};
    use super::*;
    use crate::agent::Role;

    fn member(is_untrusted: bool, is_instance_admin: bool) -> Actor {
        let mut board = person(MemberRole::Member, MembershipStatus::Active);
        board.memberships[0].is_untrusted = is_untrusted;
        board.is_instance_admin = is_instance_admin;
        Actor::Board(board)
    }

    #[test]
    fn a_text_is_from_outside_by_its_author_or_by_who_hands_it_on() {
        let elsewhere = CompanyId::from("c2");
        let rows = [
            ("an untrusted member", member(true, false), home(), false, true),
            ("the same in another company", member(true, false), elsewhere, false, false),
            ("a member", member(false, false), home(), false, false),
            ("a member who hands a text on", member(false, false), home(), true, true),
            ("an administrator of the instance", member(true, true), home(), false, false),
            ("the board of a trusted instance", local(), home(), false, false),
            ("the same, handing a text on", local(), home(), true, true),
            ("an agent", Actor::Agent(agent("a1", Role::Engineer)), home(), false, false),
            ("an agent that hands a text on", Actor::Agent(agent("a1", Role::Ceo)), home(), true, true),
            ("an untrusted member who does not say so", member(true, false), home(), false, true),
        ];
        for (name, actor, company, says_so, expected) in rows {
            assert_eq!(is_from_outside(&actor, &company, says_so), expected, "{name}");
        }
    }

    #[test]
    fn a_decision_is_about_texts_that_were_seen_and_is_made_once() {
        use Decision::{Refused, Released};
        let text = |id: &str, is_open_issue, decision| Held { id: id.into(), is_open_issue, decision };
        let held = [
            text("issue", true, None),
            text("one", false, None),
            text("two", false, None),
            text("good", false, Some(Released)),
            text("bad", false, Some(Refused)),
        ];
        let due = |ids: &[&str]| Ok(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        type Row = (&'static [&'static str], Decision, Result<Vec<String>, Misfit>);
        let rows: [Row; 11] = [
            (&["one"], Released, due(&["one"])),
            (&["one", "two", "one"], Released, due(&["one", "two"])),
            (&["issue", "one"], Released, due(&["issue", "one"])),
            (&["one"], Refused, due(&["one"])),
            (&["good", "two"], Released, due(&["two"])),
            (&["bad"], Refused, due(&[])),
            (&[], Released, due(&[])),
            (&["one", "nobody"], Released, Err(Misfit::Unknown("nobody".into()))),
            (&["bad"], Released, Err(Misfit::Decided("bad".into(), Refused))),
            (&["good"], Refused, Err(Misfit::Decided("good".into(), Released))),
            (&["issue"], Refused, Err(Misfit::WholeIssue)),
        ];
        for (asked, decision, expected) in rows {
            let asked: Vec<String> = asked.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(decide(&held, &asked, decision), expected, "{asked:?} {decision}");
        }
    }
}
