//! What a new issue must satisfy, and what it is called.
//!
//! The rules of spec/api.md 4.5.2 that need no look-up of their own, identifiers (spec/api.md 1), and cycles among
//! blockers and parents, which a change must not make either. Defaults that come from other rows (goal, project
//! workspace) are the loader's.

use std::collections::{HashMap, HashSet};

use super::IssueStatus;
use super::checkout::AssigneeFacts;
use super::refusal::Refusal;
use crate::agent::issue_prefix;
use crate::ids::{AgentId, IssueId};
use crate::moment::Moment;

/// Direct children that one issue may have.
pub const MOST_CHILDREN: usize = 25;

/// What the rules look at of a new issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIssue {
    pub status: IssueStatus,
    pub assignee: Option<(AgentId, AssigneeFacts)>,
    /// A user, and whether there is one of that name in the company.
    pub assignee_user: Option<(String, bool)>,
    /// The caller may assign work.
    pub may_assign: bool,
    /// Blockers that do not exist in the company.
    pub foreign_blockers: Vec<IssueId>,
    /// Blockers that are not done.
    pub open_blockers: Vec<IssueId>,
    /// Set when it is created as a child: how many the parent has already; `None` inside when there is no such parent.
    pub siblings: Option<Option<usize>>,
}

/// What the rules add to a new issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    pub stamps: Stamps,
    /// Its owner is to hear when the blockers are done.
    pub waits_on_blockers: bool,
}

/// The moments that belong to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    pub started_at: Option<Moment>,
    pub completed_at: Option<Moment>,
    pub cancelled_at: Option<Moment>,
}

impl Stamps {
    /// After `status` was set at `now`: a start is kept once made, an end lasts only as long as its status.
    pub fn after(self, before: Option<IssueStatus>, status: IssueStatus, now: Moment) -> Stamps {
        let enters = |wanted: IssueStatus| status == wanted && before != Some(wanted);
        let ended = |wanted: IssueStatus, at: Option<Moment>| match (status == wanted, enters(wanted)) {
            (false, _) => None,
            (true, true) => Some(now),
            (true, false) => at.or(Some(now)),
        };
        Stamps {
            started_at: if enters(IssueStatus::InProgress) { Some(now) } else { self.started_at },
            completed_at: ended(IssueStatus::Done, self.completed_at),
            cancelled_at: ended(IssueStatus::Cancelled, self.cancelled_at),
        }
    }
}

/// Checks a new issue.
pub fn create(new: &NewIssue, now: Moment) -> Result<Created, Refusal> {
    match new.siblings {
        Some(None) => return Err(Refusal::ParentNotFound),
        Some(Some(count)) if count >= MOST_CHILDREN => return Err(Refusal::TooManyChildren),
        Some(Some(_)) | None => {}
    }
    let is_assigned = new.assignee.is_some() || new.assignee_user.is_some();
    if is_assigned && !new.may_assign {
        return Err(Refusal::MayNotAssign);
    }
    if new.assignee.is_some() && new.assignee_user.is_some() {
        return Err(Refusal::OneAssignee);
    }
    if let Some((_, facts)) = &new.assignee {
        facts.check()?;
    }
    if matches!(&new.assignee_user, Some((_, false))) {
        return Err(Refusal::AssigneeUserNotFound);
    }
    if new.status == IssueStatus::InProgress && !is_assigned {
        return Err(Refusal::InProgressNeedsAssignee);
    }
    if !new.foreign_blockers.is_empty() {
        return Err(Refusal::BlockersForeign);
    }
    Ok(Created {
        stamps: Stamps::default().after(None, new.status, now),
        waits_on_blockers: waits(new.status, &new.open_blockers),
    })
}

/// An open issue with open blockers waits for them.
pub fn waits(status: IssueStatus, open_blockers: &[IssueId]) -> bool {
    !status.is_terminal() && !open_blockers.is_empty()
}

/// Checks blockers that an issue is to get. `blocks` are the edges of the company, blocker to blocked; those into the
/// issue itself do not matter, since they are replaced.
pub fn check_blockers(
    issue: &IssueId,
    blockers: &[IssueId],
    blocks: &[(IssueId, IssueId)],
) -> Result<(), Refusal> {
    if blockers.contains(issue) {
        return Err(Refusal::BlockedByItself);
    }
    let mut next: HashMap<&IssueId, Vec<&IssueId>> = HashMap::new();
    for (blocker, blocked) in blocks {
        next.entry(blocker).or_default().push(blocked);
    }
    // Whatever the issue blocks, directly or not, must not block the issue.
    let (mut seen, mut open) = (HashSet::from([issue]), vec![issue]);
    while let Some(one) = open.pop() {
        for blocked in next.get(one).into_iter().flatten() {
            if seen.insert(blocked) {
                open.push(blocked);
            }
        }
    }
    if blockers.iter().any(|blocker| seen.contains(blocker)) { Err(Refusal::BlockerCycle) } else { Ok(()) }
}

/// Checks a parent that an issue is to get; `ancestors` are those of the parent, as far as they are known.
pub fn check_parent(issue: &IssueId, parent: &IssueId, ancestors: &[IssueId]) -> Result<(), Refusal> {
    if parent == issue || ancestors.contains(issue) { Err(Refusal::ParentCycle) } else { Ok(()) }
}

/// The prefix of the identifiers of a new company: of its name, with as many `A` appended as it takes to be the only one.
///
/// `taken` are the prefixes in use that begin with that of the name; there are finitely many, so one is free.
pub fn prefix(company_name: &str, taken: &[String]) -> String {
    let mut prefix = issue_prefix(company_name);
    while taken.contains(&prefix) {
        prefix.push('A');
    }
    prefix
}

/// `PAP-7`.
pub fn identifier(prefix: &str, number: i64) -> String {
    format!("{prefix}-{number}")
}

/// The number of the next issue of a company.
pub fn next_number(counter: i64, highest: Option<i64>) -> i64 {
    counter.max(highest.unwrap_or(0)) + 1
}

/// Reads an identifier in any case and gives back the stored form; `None` for text of another form.
pub fn parse_identifier(text: &str) -> Option<String> {
    let (prefix, number) = text.split_once('-')?;
    let is_one = !prefix.is_empty()
        && prefix.bytes().all(|b| b.is_ascii_alphabetic())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit());
    is_one.then(|| text.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentStatus;

    const NOON: Moment = Moment::from_micros(1_000);
    const LATER: Moment = Moment::from_micros(2_000);

    fn new() -> NewIssue {
        NewIssue {
            status: IssueStatus::Todo,
            assignee: None,
            assignee_user: None,
            may_assign: true,
            foreign_blockers: vec![],
            open_blockers: vec![],
            siblings: None,
        }
    }

    fn to(facts: AssigneeFacts) -> Option<(AgentId, AssigneeFacts)> {
        Some(("a".into(), facts))
    }

    fn fit() -> Option<(AgentId, AssigneeFacts)> {
        to(AssigneeFacts::Found(AgentStatus::Idle))
    }

    #[test]
    fn a_new_issue_is_refused_by_the_first_rule_it_breaks() {
        let person = |exists| Some(("u".to_owned(), exists));
        let started = IssueStatus::InProgress;
        let rows = [
            ("plain", new(), Ok(())),
            ("assigned", NewIssue { assignee: fit(), ..new() }, Ok(())),
            ("to a person", NewIssue { assignee_user: person(true), ..new() }, Ok(())),
            (
                "to two",
                NewIssue { assignee: fit(), assignee_user: person(true), ..new() },
                Err(Refusal::OneAssignee),
            ),
            (
                "may not assign",
                NewIssue { assignee: fit(), assignee_user: person(true), may_assign: false, ..new() },
                Err(Refusal::MayNotAssign),
            ),
            (
                "may not assign to a person",
                NewIssue { assignee_user: person(true), may_assign: false, ..new() },
                Err(Refusal::MayNotAssign),
            ),
            ("assigns nothing", NewIssue { may_assign: false, ..new() }, Ok(())),
            (
                "unknown agent",
                NewIssue { assignee: to(AssigneeFacts::Missing), ..new() },
                Err(Refusal::AssigneeNotFound),
            ),
            (
                "foreign agent",
                NewIssue { assignee: to(AssigneeFacts::Foreign), ..new() },
                Err(Refusal::AssigneeForeign),
            ),
            (
                "unknown person",
                NewIssue { assignee_user: person(false), ..new() },
                Err(Refusal::AssigneeUserNotFound),
            ),
            (
                "started by nobody",
                NewIssue { status: started, ..new() },
                Err(Refusal::InProgressNeedsAssignee),
            ),
            ("started by an agent", NewIssue { status: started, assignee: fit(), ..new() }, Ok(())),
            (
                "started by a person",
                NewIssue { status: started, assignee_user: person(true), ..new() },
                Ok(()),
            ),
            (
                "foreign blocker",
                NewIssue { foreign_blockers: vec!["b".into()], ..new() },
                Err(Refusal::BlockersForeign),
            ),
            ("no parent", NewIssue { siblings: Some(None), ..new() }, Err(Refusal::ParentNotFound)),
            ("24 siblings", NewIssue { siblings: Some(Some(24)), ..new() }, Ok(())),
            ("25 siblings", NewIssue { siblings: Some(Some(25)), ..new() }, Err(Refusal::TooManyChildren)),
        ];
        for (name, new, expected) in rows {
            assert_eq!(create(&new, NOON).map(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn a_new_issue_waits_for_open_blockers_unless_it_is_closed() {
        let blocked = NewIssue { open_blockers: vec!["b".into()], ..new() };
        assert_eq!(create(&blocked, NOON).map(|made| made.waits_on_blockers), Ok(true));
        assert_eq!(create(&new(), NOON).map(|made| made.waits_on_blockers), Ok(false));
        let closed = NewIssue { status: IssueStatus::Done, ..blocked };
        let made = create(&closed, NOON).expect("created");
        assert!(!made.waits_on_blockers);
        assert_eq!(made.stamps, Stamps { completed_at: Some(NOON), ..Stamps::default() });
    }

    #[test]
    fn a_status_stamps_its_moment_and_clears_those_of_others() {
        use IssueStatus::{Blocked, Cancelled, Done, InProgress, Todo};
        let at = |started, completed, cancelled| Stamps {
            started_at: started,
            completed_at: completed,
            cancelled_at: cancelled,
        };
        let (noon, later) = (Some(NOON), Some(LATER));
        for (name, stamps, before, status, expected) in [
            ("new", at(None, None, None), None, Todo, at(None, None, None)),
            ("new, started", at(None, None, None), None, InProgress, at(later, None, None)),
            ("started", at(None, None, None), Some(Todo), InProgress, at(later, None, None)),
            ("started again", at(noon, None, None), Some(Blocked), InProgress, at(later, None, None)),
            ("still started", at(noon, None, None), Some(InProgress), InProgress, at(noon, None, None)),
            ("done", at(noon, None, None), Some(InProgress), Done, at(noon, later, None)),
            ("still done", at(noon, noon, None), Some(Done), Done, at(noon, noon, None)),
            ("done without a moment", at(None, None, None), Some(Done), Done, at(None, later, None)),
            ("opened again", at(noon, noon, None), Some(Done), Todo, at(noon, None, None)),
            ("cancelled", at(noon, noon, None), Some(Done), Cancelled, at(noon, None, later)),
            ("restored", at(noon, None, noon), Some(Cancelled), Todo, at(noon, None, None)),
        ] {
            assert_eq!(stamps.after(before, status, LATER), expected, "{name}");
        }
    }

    #[test]
    fn blockers_make_no_cycles() {
        let id = |text: &str| IssueId::from(text);
        let edges: Vec<(IssueId, IssueId)> =
            [("a", "b"), ("b", "c"), ("a", "d"), ("x", "a"), ("c", "y"), ("y", "c")]
                .iter()
                .map(|(from, to)| (id(from), id(to)))
                .collect();
        for (issue, blockers, expected) in [
            ("a", vec!["a"], Err(Refusal::BlockedByItself)),
            ("a", vec!["x"], Ok(())),
            ("a", vec!["b"], Err(Refusal::BlockerCycle)),
            ("a", vec!["x", "c"], Err(Refusal::BlockerCycle)),
            ("a", vec!["d"], Err(Refusal::BlockerCycle)),
            ("c", vec!["a", "b", "x"], Ok(())),
            ("c", vec!["d"], Ok(())),
            ("new", vec!["a", "c"], Ok(())),
            ("a", vec![], Ok(())),
        ] {
            let blockers: Vec<IssueId> = blockers.iter().map(|text| id(text)).collect();
            assert_eq!(check_blockers(&id(issue), &blockers, &edges), expected, "{issue} {blockers:?}");
        }
    }

    #[test]
    fn an_issue_is_not_below_itself() {
        let (one, two) = (IssueId::from("1"), IssueId::from("2"));
        assert_eq!(check_parent(&one, &one, &[]), Err(Refusal::ParentCycle));
        assert_eq!(check_parent(&one, &two, std::slice::from_ref(&one)), Err(Refusal::ParentCycle));
        assert_eq!(check_parent(&one, &two, &["3".into()]), Ok(()));
    }

    #[test]
    fn identifiers_have_a_prefix_of_their_own_and_a_number() {
        let taken = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        assert_eq!(prefix("Paper clip", &[]), "PAP");
        assert_eq!(prefix("Paper clip", &taken(&["PAP", "PAPAA"])), "PAPA");
        assert_eq!(prefix("Paper clip", &taken(&["PAP", "PAPA"])), "PAPAA");
        assert_eq!(prefix("42", &[]), "CMP");
        assert_eq!(identifier("PAP", 7), "PAP-7");
        assert_eq!((next_number(4, Some(9)), next_number(9, Some(4)), next_number(0, None)), (10, 10, 1));
        for (text, expected) in [
            ("pap-7", Some("PAP-7")),
            ("PAP-007", Some("PAP-007")),
            ("PAP-", None),
            ("-7", None),
            ("PAP", None),
            ("PA1-7", None),
            ("PAP-7a", None),
            ("PAP-7-8", None),
        ] {
            assert_eq!(parse_identifier(text).as_deref(), expected, "{text}");
        }
    }
}
