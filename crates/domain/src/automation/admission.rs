//! Which waiting run may begin, and for what the others wait (spec/automations.md 2.1, bar 6).
//!
//! The order is priority; of one priority, automations take turns, so that one with hundreds of runs leaves the others
//! their places; and then first come first served. A run that cannot have its workspace holds nobody up who wants another
//! one; but nobody who comes after it in this order gets into a workspace that it waits for.

use std::collections::BTreeMap;

use crate::hold::HeldReason;
use crate::ids::{AutomationId, AutomationRunId};
use crate::moment::Moment;

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: AutomationRunId,
    pub automation: AutomationId,
    /// 0 comes first.
    pub priority: i64,
    pub queued_at: Moment,
    /// Its workspace, canonical.
    pub root: Option<String>,
    /// It begins no earlier.
    pub not_before: Option<Moment>,
    /// Its automation is paused.
    pub is_paused: bool,
    /// Every agent that would be woken first takes no work until a person lets it; one of them, in words.
    pub paused_agent: Option<String>,
    /// The account that its next agents use waits until then.
    pub throttled: Option<Throttle>,
}

/// A provider that takes no work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    pub account: String,
    pub until: Option<Moment>,
}

/// What is taken already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Runs at work.
    pub running: usize,
    /// As many may be.
    pub most: usize,
    /// How many runs of each automation are at work.
    pub by_automation: BTreeMap<AutomationId, usize>,
    /// Workspaces of runs at work, with whose they are.
    pub roots: Vec<(AutomationRunId, String)>,
}

/// What becomes of a run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Admitted,
    Held {
        reason: HeldReason,
        /// The workspace, account or agent that it waits for.
        resource: Option<String>,
        /// When it can begin, where that is known.
        until: Option<Moment>,
    },
}

/// Goes through all that wait.
pub fn admit(waiting: &[Waiting], taken: &Taken, now: Moment) -> Vec<(AutomationRunId, Fate)> {
    let order = order(waiting, taken, now);
    let mut roots = Roots::default();
    for (_, root) in &taken.roots {
        roots.add(root);
    }
    let mut running = taken.running;
    let mut fates = Vec::with_capacity(order.len());
    for run in order {
        let fate = fate(run, &roots, running >= taken.most, now);
        let waits_for_a_place = matches!(
            fate,
            Fate::Admitted | Fate::Held { reason: HeldReason::WorkspaceLock | HeldReason::Capacity, .. }
        );
        if let Some(root) = run.root.as_ref().filter(|_| waits_for_a_place) {
            roots.add(root);
        }
        running += usize::from(fate == Fate::Admitted);
        fates.push((run.id.clone(), fate));
    }
    fates
}

/// The order in which runs are looked at: by priority, then by how many of its automation are at work or come before it,
/// then by who came first. Who cannot begin for its own reasons takes no turn of its automation.
fn order<'a>(waiting: &'a [Waiting], taken: &Taken, now: Moment) -> Vec<&'a Waiting> {
    let mut first_come: Vec<&Waiting> = waiting.iter().collect();
    first_come.sort_by(|a, b| (a.priority, a.queued_at, &a.id).cmp(&(b.priority, b.queued_at, &b.id)));
    let mut turns: BTreeMap<(i64, &AutomationId), usize> = BTreeMap::new();
    let mut order: Vec<(i64, usize, &Waiting)> = Vec::with_capacity(waiting.len());
    for run in first_come {
        let at_work = || taken.by_automation.get(&run.automation).copied().unwrap_or(0);
        let turn = turns.entry((run.priority, &run.automation)).or_insert_with(at_work);
        order.push((run.priority, *turn, run));
        *turn += usize::from(own_reason(run, now).is_none());
    }
    // Stable: those of one turn stay as they came.
    order.sort_by_key(|(priority, turn, _)| (*priority, *turn));
    order.into_iter().map(|(_, _, run)| run).collect()
}

/// Why a run could not begin though everything were free.
fn own_reason(run: &Waiting, now: Moment) -> Option<Fate> {
    let held = |reason, resource, until| Some(Fate::Held { reason, resource, until });
    if run.is_paused {
        return held(HeldReason::Paused, None, None);
    }
    if let Some(agent) = &run.paused_agent {
        return held(HeldReason::Paused, Some(agent.clone()), None);
    }
    if let Some(at) = run.not_before.filter(|at| *at > now) {
        return held(HeldReason::RetryBackoff, None, Some(at));
    }
    let throttle = run.throttled.as_ref()?;
    held(HeldReason::RateLimit, Some(throttle.account.clone()), throttle.until)
}

fn fate(run: &Waiting, roots: &Roots, is_full: bool, now: Moment) -> Fate {
    let held = |reason, resource, until| Fate::Held { reason, resource, until };
    if let Some(own) = own_reason(run, now) {
        return own;
    }
    if let Some(root) = &run.root
        && let Some(other) = roots.overlapping(root)
    {
        return held(HeldReason::WorkspaceLock, Some(other.to_owned()), None);
    }
    if is_full {
        return held(HeldReason::Capacity, None, None);
    }
    Fate::Admitted
}

/// Folders that are taken, each with its place in the order in which they were.
#[derive(Debug, Default)]
struct Roots(BTreeMap<String, usize>);

impl Roots {
    fn add(&mut self, root: &str) {
        let place = self.0.len();
        self.0.entry(root.to_owned()).or_insert(place);
    }

    /// The first one taken that overlaps this folder. Looks only at the folders around it and in it: a queue is as long as
    /// it is.
    fn overlapping(&self, root: &str) -> Option<&str> {
        let ends = root.match_indices('/').map(|(at, _)| at.max(1)).chain([root.len()]);
        let around = ends.filter_map(|end| self.0.get_key_value(&root[..end]));
        let below = if root.ends_with('/') { root.to_owned() } else { format!("{root}/") };
        let within = self.0.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
        around.chain(within).min_by_key(|(_, place)| **place).map(|(path, _)| path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the automation `one`, or of the one behind `#`.
    fn waiting(id: &str, priority: i64, at: i64, root: &str) -> Waiting {
        Waiting {
            id: AutomationRunId::from(id),
            automation: AutomationId::from(
                root.rsplit('#').next().filter(|_| root.contains('#')).unwrap_or("one"),
            ),
            priority,
            queued_at: Moment::from_micros(at),
            root: root.split('#').next().map(str::to_owned).filter(|root| !root.is_empty()),
            not_before: None,
            is_paused: false,
            paused_agent: None,
            throttled: None,
        }
    }

    fn taken(running: usize, most: usize, roots: &[&str]) -> Taken {
        let roots = roots.iter().map(|root| (AutomationRunId::from("r"), (*root).to_owned())).collect();
        Taken { running, most, roots, by_automation: BTreeMap::new() }
    }

    fn said(waiting: &[Waiting], taken: &Taken) -> Vec<String> {
        let fates = admit(waiting, taken, Moment::from_micros(1_000));
        let say = |(id, fate): (AutomationRunId, Fate)| match fate {
            Fate::Admitted => format!("{id} admitted"),
            Fate::Held { reason, resource: Some(resource), .. } => format!("{id} {reason} {resource}"),
            Fate::Held { reason, .. } => format!("{id} {reason}"),
        };
        fates.into_iter().map(say).collect()
    }

    #[test]
    fn folders_overlap_by_whole_components() {
        for (one, other, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/c", true),
            ("/a/b", "/a/bc", false),
            ("/a", "/b", false),
            ("/", "/b", true),
            ("/", "/", true),
            ("/a/b/c", "/a/b/d", false),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let mut roots = Roots::default();
                roots.add(one);
                assert_eq!(roots.overlapping(other), Some(one).filter(|_| expected), "{one} {other}");
            }
        }
    }

    #[test]
    fn of_several_folders_that_overlap_the_first_one_taken_is_named() {
        let mut roots = Roots::default();
        for root in ["/a/b/c", "/a/bc", "/a/b", "/d/e", "/a/b/c", "/"] {
            roots.add(root);
        }
        for (root, first) in [
            ("/a", "/a/b/c"),
            ("/a/b", "/a/b/c"),
            ("/a/b/d", "/a/b"),
            ("/d", "/d/e"),
            ("/e", "/"),
            ("/", "/a/b/c"),
        ] {
            assert_eq!(roots.overlapping(root), Some(first), "{root}");
        }
    }

    /// Each folder of its own, ten thousand of them: what each is compared with does not grow with the queue.
    #[test]
    fn a_long_queue_is_gone_through_once() {
        let runs: Vec<Waiting> =
            (0..10_000).map(|at| waiting(&format!("{at:05}"), 2, at, &format!("/w/{at}"))).collect();
        let fates = said(&runs, &taken(0, 8, &[]));
        assert_eq!(fates.iter().filter(|fate| fate.ends_with("admitted")).count(), 8);
        assert_eq!(fates.iter().filter(|fate| fate.ends_with("capacity")).count(), 9_992);
    }

    #[test]
    fn priority_comes_first_and_then_who_came_first() {
        let runs = [
            waiting("c", 2, 30, ""),
            waiting("a", 2, 10, ""),
            waiting("x", 1, 90, ""),
            waiting("b", 2, 10, ""),
        ];
        assert_eq!(said(&runs, &taken(0, 3, &[])), ["x admitted", "a admitted", "b admitted", "c capacity"]);
    }

    #[test]
    fn automations_of_one_priority_take_turns() {
        let mut runs: Vec<Waiting> = (0..5).map(|at| waiting(&format!("m{at}"), 2, at, "#many")).collect();
        runs.extend([
            waiting("f1", 2, 50, "#few"),
            waiting("f2", 2, 60, "#few"),
            waiting("x", 1, 99, "#many"),
        ]);
        let begin = |runs: &[Waiting], taken: &Taken| {
            let said = said(runs, taken);
            said.iter()
                .filter_map(|fate| fate.strip_suffix(" admitted").map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(begin(&runs, &taken(0, 5, &[])), ["x", "m0", "f1", "m1", "f2"]);
        // Those at work have had their turn.
        let busy =
            Taken { by_automation: BTreeMap::from([(AutomationId::from("many"), 2)]), ..taken(2, 5, &[]) };
        assert_eq!(begin(&runs, &busy), ["x", "f1", "f2"]);
        // Who cannot begin anyway takes no turn from its own.
        runs[0].is_paused = true;
        runs[1].throttled = Some(Throttle { account: "acc".into(), until: None });
        assert_eq!(begin(&runs, &taken(0, 3, &[])), ["x", "m2", "f1"]);
    }

    #[test]
    fn a_workspace_is_one_runs_at_a_time_and_nobody_jumps_its_queue() {
        let runs = [
            waiting("big", 2, 10, "/w"),
            waiting("in", 2, 20, "/w/x"),
            waiting("other", 2, 30, "/v"),
            waiting("none", 2, 40, ""),
        ];
        assert_eq!(
            said(&runs, &taken(1, 9, &["/w/y"])),
            ["big workspace_lock /w/y", "in workspace_lock /w", "other admitted", "none admitted"]
        );
        assert_eq!(
            said(&runs, &taken(0, 1, &[])),
            ["big admitted", "in workspace_lock /w", "other capacity", "none capacity"]
        );
    }

    #[test]
    fn who_cannot_begin_for_its_own_reasons_keeps_nobody_out() {
        let mut runs = vec![
            waiting("p", 0, 1, "/w"),
            waiting("b", 0, 2, "/w"),
            waiting("t", 0, 3, "/w"),
            waiting("r", 2, 9, "/w"),
        ];
        runs[0].is_paused = true;
        runs[1].not_before = Some(Moment::from_micros(1_001));
        runs[2].throttled = Some(Throttle { account: "acc".into(), until: None });
        assert_eq!(
            said(&runs, &taken(0, 1, &[])),
            ["p paused", "b retry_backoff", "t rate_limit acc", "r admitted"]
        );
        runs[0].is_paused = false;
        runs[0].paused_agent = Some("agent Ada".into());
        assert_eq!(said(&runs, &taken(0, 1, &[]))[0], "p paused agent Ada");
        runs[1].not_before = Some(Moment::from_micros(1_000));
        assert_eq!(said(&runs, &taken(0, 1, &[]))[1], "b admitted");
    }
}
