//! Whether the process of a run goes on with a session, and why it does not (spec/heartbeat.md 4.3, 4.10, 9.5).
//!
//! Decided before anything is started: an id that cannot be resumed must not cost a start that fails. What only the
//! program itself knows (its session is gone) comes back as an ending, and as [`Why::Gone`] of the next process.

use std::path::Path;

use serde_json::Value;

use super::codec::Params;
use super::rotation;
use crate::words;

words!(
    /// Why a process starts without the session it might have had; stored with its start.
    Why {
        Reset = "reset",
        Unusable = "unusable_id",
        KnownGone = "known_gone",
        Gone = "session_gone",
        Over = "session_over",
        Moved = "folder_changed",
        Elsewhere = "machine_changed",
        Instructions = "instructions_changed",
        Fallback = "fallback",
        Rotated = "rotated",
    }
);

impl Why {
    /// A fresh session is told what the one before it knew. One that was left for new work is not, and the hand-over of
    /// a fallback is the adapter's own.
    pub const fn hands_over(self) -> bool {
        !matches!(self, Why::Reset | Why::Fallback)
    }
}

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct View<'a> {
    /// The session that the run was to resume, and what is kept of it.
    pub asked: Option<&'a Params>,
    /// The session of its task that the reason of its wake sets aside, and that reason.
    pub set_aside: Option<(&'a str, &'a str)>,
    /// It was found to be gone before.
    pub is_known_gone: bool,
    /// Its program said that it takes no more turns.
    pub over: Option<&'a str>,
    /// Where the process will work.
    pub cwd: &'a Path,
    /// The agent's own folder.
    pub home: &'a Path,
    /// Where that folder comes from, as the run's workspace says it.
    pub source: Option<&'a str>,
    pub workspace: Option<&'a str>,
    /// The program finds its sessions wherever it works.
    pub is_folder_free: bool,
    /// The machine the process will run on, when it is not this one.
    pub remote: Option<&'a Value>,
    /// The hash of what the program is told once for a session.
    pub bundle: Option<&'a str>,
    /// The retry is to leave the session.
    pub is_fallback: bool,
    pub rotation: Option<rotation::Reason>,
}

/// The decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// There was none.
    None,
    Resume {
        /// What is kept of it, its folder rewritten where it moved along.
        params: Params,
        /// What people should know.
        remark: Option<String>,
    },
    Fresh {
        previous: String,
        why: Why,
        /// In words, to be read after "because".
        words: String,
    },
}

/// Decides for one process.
pub fn choose(view: &View<'_>) -> Choice {
    let Some(asked) = view.asked else {
        return match view.set_aside {
            Some((previous, reason)) => Choice::Fresh {
                previous: previous.to_owned(),
                why: Why::Reset,
                words: format!("`{reason}` begins new work"),
            },
            None => Choice::None,
        };
    };
    let fresh = |why, words: String| Choice::Fresh { previous: asked.id.clone(), why, words };
    // It may come from a person, and it becomes an argument: it must not be read as a flag.
    if asked.id.starts_with('-') || asked.id.chars().any(char::is_control) {
        return fresh(Why::Unusable, "its id is not usable".to_owned());
    }
    if view.is_known_gone {
        return fresh(Why::KnownGone, "an earlier run found that it is gone".to_owned());
    }
    if let Some(over) = view.over.filter(|over| !over.trim().is_empty()) {
        return fresh(Why::Over, format!("it takes no more turns ({over})"));
    }
    if asked.remote.as_ref() != view.remote {
        return fresh(Why::Elsewhere, "it was made on another machine".to_owned());
    }
    let mut params = asked.clone();
    let mut remark = None;
    if let Some(noted) = asked.cwd.as_deref().filter(|noted| Path::new(noted) != view.cwd) {
        if !moves_along(view, asked, Path::new(noted)) {
            let words = format!("it worked in `{noted}` and this run works in `{}`", view.cwd.display());
            return fresh(Why::Moved, words);
        }
        remark = Some(format!(
            "session {} was begun in the agent's own folder and goes on in `{}`",
            asked.id,
            view.cwd.display()
        ));
        params.cwd = Some(view.cwd.to_string_lossy().into_owned());
        params.workspace = view.workspace.map(str::to_owned).or(params.workspace);
    }
    if let (Some(then), Some(now)) = (asked.bundle.as_deref(), view.bundle)
        && then != now
    {
        return fresh(Why::Instructions, "the agent's instructions or skills changed since".to_owned());
    }
    if view.is_fallback {
        return fresh(Why::Fallback, "runs in it failed repeatedly".to_owned());
    }
    match &view.rotation {
        Some(reason) => fresh(Why::Rotated, reason.to_string()),
        None => Choice::Resume { params, remark },
    }
}

/// A session that began in the agent's own folder, before its project had one, goes with it into the project's folder.
/// Only where the program finds it there.
fn moves_along(view: &View<'_>, asked: &Params, noted: &Path) -> bool {
    let is_same_workspace = match (asked.workspace.as_deref(), view.workspace) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    };
    view.is_folder_free && view.source == Some("project_primary") && noted == view.home && is_same_workspace
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn in_folder(cwd: &str) -> Params {
        Params { cwd: Some(cwd.to_owned()), ..Params::bare("s") }
    }

    fn view(asked: Option<&Params>) -> View<'_> {
        View {
            asked,
            set_aside: None,
            is_known_gone: false,
            over: None,
            cwd: Path::new("/w"),
            home: Path::new("/home"),
            source: None,
            workspace: None,
            is_folder_free: false,
            remote: None,
            bundle: None,
            is_fallback: false,
            rotation: None,
        }
    }

    /// The reason for a fresh start, or `resume`, or `none`.
    fn word(view: &View<'_>) -> &'static str {
        match choose(view) {
            Choice::None => "none",
            Choice::Resume { .. } => "resume",
            Choice::Fresh { why, previous, words } => {
                assert!(!previous.is_empty() && !words.is_empty());
                why.as_str()
            }
        }
    }

    #[test]
    fn every_reason_against_a_session_is_found_before_anything_starts() {
        let (bare, here, there) = (Params::bare("s"), in_folder("/w/"), in_folder("/elsewhere"));
        let (flag, line) = (Params::bare("--yolo"), Params::bare("a\nb"));
        let bundled = Params { bundle: Some("1".into()), ..Params::bare("s") };
        let machine = json!({ "host": "h" });
        let remote = Params { remote: Some(machine.clone()), ..Params::bare("s") };
        let rotation = Some(rotation::Reason::Runs { found: 4, limit: 3 });
        let rows = [
            ("none", view(None)),
            ("reset", View { set_aside: Some(("s", "issue_assigned")), ..view(None) }),
            // An explicit resume is not set aside.
            ("resume", View { set_aside: Some(("o", "issue_assigned")), ..view(Some(&bare)) }),
            ("resume", view(Some(&bare))),
            ("resume", view(Some(&here))),
            ("folder_changed", view(Some(&there))),
            ("unusable_id", view(Some(&flag))),
            ("unusable_id", view(Some(&line))),
            ("known_gone", View { is_known_gone: true, ..view(Some(&there)) }),
            ("session_over", View { over: Some("full"), ..view(Some(&here)) }),
            ("resume", View { over: Some(" "), ..view(Some(&here)) }),
            ("machine_changed", view(Some(&remote))),
            ("machine_changed", View { remote: Some(&machine), ..view(Some(&bare)) }),
            ("resume", View { remote: Some(&machine), ..view(Some(&remote)) }),
            ("resume", View { bundle: Some("1"), ..view(Some(&bundled)) }),
            ("resume", View { bundle: Some("1"), ..view(Some(&bare)) }),
            ("resume", view(Some(&bundled))),
            ("instructions_changed", View { bundle: Some("2"), ..view(Some(&bundled)) }),
            ("fallback", View { is_fallback: true, rotation, ..view(Some(&bare)) }),
            ("rotated", View { rotation, ..view(Some(&bare)) }),
        ];
        for (at, (expected, view)) in rows.iter().enumerate() {
            assert_eq!(word(view), *expected, "row {at}");
        }
    }

    #[test]
    fn a_session_of_the_agents_own_folder_moves_into_its_project() {
        let own = in_folder("/home");
        let of = |workspace: &str| Params { workspace: Some(workspace.to_owned()), ..own.clone() };
        let project = View {
            source: Some("project_primary"),
            workspace: Some("a"),
            is_folder_free: true,
            ..view(Some(&own))
        };
        let Choice::Resume { params, remark } = choose(&project) else { panic!("A9.1: it moves along") };
        assert_eq!((params.cwd.as_deref(), params.workspace.as_deref()), (Some("/w"), Some("a")));
        assert!(remark.is_some());
        let (elsewhere, same, other) = (in_folder("/elsewhere"), of("a"), of("b"));
        let rows = [
            ("folder_changed", View { asked: Some(&elsewhere), ..project.clone() }), // A9.2
            ("folder_changed", View { asked: Some(&other), ..project.clone() }),     // A9.3
            ("resume", View { asked: Some(&same), ..project.clone() }),
            ("resume", View { workspace: None, asked: Some(&other), ..project.clone() }),
            ("folder_changed", View { source: Some("agent_home"), ..project.clone() }),
            // One that looks for its sessions below the folder would not find it.
            ("folder_changed", View { is_folder_free: false, ..project.clone() }),
        ];
        for (at, (expected, view)) in rows.iter().enumerate() {
            assert_eq!(word(view), *expected, "row {at}");
        }
    }

    #[test]
    fn only_new_work_and_a_fallback_hand_nothing_over() {
        let silent: Vec<&str> =
            Why::ALL.iter().filter(|why| !why.hands_over()).map(|why| why.as_str()).collect();
        assert_eq!(silent, ["reset", "fallback"]);
    }
}
