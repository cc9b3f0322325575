//! Which folder of its project a run belongs to (spec/heartbeat.md 4.5).
//!
//! The rule is asked again whenever a checkout that it wanted was tried, so that nothing is cloned that is not needed.

use super::Source;

/// A folder or repository of the project, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    pub id: String,
    pub cwd: Option<String>,
    /// `cwd` is a folder that is there.
    pub exists: bool,
    pub repo_url: Option<String>,
    pub repo_ref: Option<String>,
    /// What became of its managed checkout; `None`: it was not tried.
    pub checkout: Option<Checkout>,
}

/// What became of a managed checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkout {
    Ready {
        path: String,
    },
    /// The folder is there, and holds something that is no checkout.
    NotGit {
        path: String,
    },
    Failed {
        reason: String,
    },
}

/// The place of rows that have a repository and no folder.
const NOWHERE: &str = "/__paperclip_repo_only__";

/// What the rule looks at.
#[derive(Debug, Clone, Default)]
pub struct View<'a> {
    pub project: Option<&'a str>,
    /// The agent works where it is configured to, whatever the project says.
    pub ignores_project: bool,
    /// The workspace that the issue, else the wake, names.
    pub preferred: Option<&'a str>,
    /// In the order in which they are tried, the preferred one not yet moved first.
    pub candidates: &'a [Candidate],
    /// The folder of the project when it has no rows.
    pub project_folder: &'a str,
    /// Where the session worked that is gone on with, if it may be worked in again.
    pub session_cwd: Option<SessionFolder<'a>>,
    pub agent_home: &'a str,
}

/// Where a session worked.
#[derive(Debug, Clone, Copy)]
pub struct SessionFolder<'a> {
    pub cwd: &'a str,
    pub exists: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the managed checkout of this candidate, and ask again.
    CheckOut(usize),
    Settled(Place),
}

/// The folder, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub cwd: String,
    pub source: Source,
    /// It is to be made if it is not there.
    pub make: bool,
    /// It is a checkout of ours: nobody else works in it.
    pub managed: bool,
    pub workspace: Option<String>,
    pub repo_url: Option<String>,
    pub repo_ref: Option<String>,
    pub warnings: Vec<String>,
}

/// The candidates in the order in which they are tried.
pub fn order(preferred: Option<&str>, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| Some(candidate.id.as_str()) != preferred);
    candidates
}

/// Finds the folder, or says which checkout is to be tried first.
pub fn resolve(view: &View<'_>) -> Step {
    let project = view.project.filter(|_| !view.ignores_project);
    let Some(_) = project else { return Step::Settled(without_project(view)) };
    if view.candidates.is_empty() {
        return Step::Settled(Place {
            cwd: view.project_folder.to_owned(),
            source: Source::ProjectPrimary,
            make: true,
            managed: false,
            workspace: None,
            repo_url: None,
            repo_ref: None,
            warnings: Vec::new(),
        });
    }
    let mut pending = view
        .preferred
        .filter(|preferred| !view.candidates.iter().any(|candidate| candidate.id == **preferred))
        .map(|preferred| {
            format!("the workspace {preferred} does not belong to the project; taking another one")
        });
    let mut missing = Vec::new();
    for (at, candidate) in view.candidates.iter().enumerate() {
        let is_preferred = Some(candidate.id.as_str()) == view.preferred;
        let place = |cwd: &str, managed: bool, warnings: Vec<String>| {
            Step::Settled(Place {
                cwd: cwd.to_owned(),
                source: Source::ProjectPrimary,
                make: false,
                managed,
                workspace: Some(candidate.id.clone()),
                repo_url: candidate.repo_url.clone(),
                repo_ref: candidate.repo_ref.clone(),
                warnings,
            })
        };
        let folder = candidate.cwd.as_deref().filter(|cwd| !cwd.trim().is_empty() && *cwd != NOWHERE);
        match (folder, &candidate.checkout) {
            (Some(cwd), _) if candidate.exists => return place(cwd, false, pending.into_iter().collect()),
            (Some(cwd), _) => {
                missing.push(cwd.to_owned());
                if is_preferred {
                    pending.get_or_insert_with(|| format!("the folder {cwd} of the workspace is not there"));
                }
            }
            (None, None) => return Step::CheckOut(at),
            (None, Some(Checkout::Ready { path })) => {
                return place(path, true, pending.into_iter().collect());
            }
            (None, Some(Checkout::NotGit { path })) => {
                let warning = format!("the folder {path} is there and is no git checkout; using it as it is");
                return place(path, false, pending.into_iter().chain([warning]).collect());
            }
            (None, Some(Checkout::Failed { reason })) => {
                if is_preferred || view.candidates.len() == 1 {
                    pending.get_or_insert_with(|| format!("cannot check the repository out: {reason}"));
                }
            }
        }
    }
    let others = missing.len().saturating_sub(1);
    let fallback = match missing.first() {
        Some(first) if others > 0 => {
            format!("the folder {first} is not there, nor {others} more; working in the agent's home")
        }
        Some(first) => format!("the folder {first} is not there; working in the agent's home"),
        None => "no folder of the project can be used; working in the agent's home".to_owned(),
    };
    let first = &view.candidates[0];
    Step::Settled(Place {
        cwd: view.agent_home.to_owned(),
        source: Source::ProjectPrimary,
        make: true,
        managed: false,
        workspace: Some(first.id.clone()),
        repo_url: first.repo_url.clone(),
        repo_ref: first.repo_ref.clone(),
        warnings: pending.into_iter().chain([fallback]).collect(),
    })
}

/// The folder of a run without a project, or whose project has no say.
fn without_project(view: &View<'_>) -> Place {
    let nothing = |cwd: &str, source: Source, make: bool, warnings: Vec<String>| Place {
        cwd: cwd.to_owned(),
        source,
        make,
        managed: false,
        workspace: None,
        repo_url: None,
        repo_ref: None,
        warnings,
    };
    match view.session_cwd {
        Some(SessionFolder { cwd, exists: true }) => nothing(cwd, Source::TaskSession, false, Vec::new()),
        Some(SessionFolder { cwd, exists: false }) => {
            let warning = format!("the folder {cwd} of the session is gone; working in the agent's home");
            nothing(view.agent_home, Source::AgentHome, true, vec![warning])
        }
        // Most agents work at home: that is nothing to be warned of.
        None => nothing(view.agent_home, Source::AgentHome, true, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(id: &str, exists: bool) -> Candidate {
        Candidate { id: id.into(), cwd: Some(format!("/{id}")), exists, ..Candidate::default() }
    }

    fn repo(id: &str, checkout: Option<Checkout>) -> Candidate {
        Candidate {
            id: id.into(),
            repo_url: Some("https://h/r.git".into()),
            repo_ref: Some("main".into()),
            checkout,
            ..Candidate::default()
        }
    }

    fn told(preferred: Option<&str>, candidates: &[Candidate]) -> String {
        let candidates = order(preferred, candidates.to_vec());
        let view = View {
            project: Some("p"),
            preferred,
            candidates: &candidates,
            project_folder: "/projects/p",
            agent_home: "/home",
            ..View::default()
        };
        match resolve(&view) {
            Step::CheckOut(at) => format!("check out {}", candidates[at].id),
            Step::Settled(place) => format!(
                "{} {} {} {}",
                place.cwd,
                place.source,
                place.workspace.as_deref().unwrap_or("-"),
                place.warnings.join(" | ")
            )
            .trim_end()
            .to_owned(),
        }
    }

    #[test]
    fn the_matrix_of_projects() {
        let ready = Checkout::Ready { path: "/m/r".into() };
        let odd = Checkout::NotGit { path: "/m/r".into() };
        let failed = Checkout::Failed { reason: "no network".into() };
        for (preferred, candidates, expected) in [
            (None, vec![], "/projects/p project_primary -"),
            (None, vec![folder("a", true), folder("b", true)], "/a project_primary a"),
            (Some("b"), vec![folder("a", true), folder("b", true)], "/b project_primary b"),
            (
                Some("x"),
                vec![folder("a", true)],
                "/a project_primary a the workspace x does not belong to the project; taking another one",
            ),
            (None, vec![folder("a", false), folder("b", true)], "/b project_primary b"),
            (
                Some("a"),
                vec![folder("a", false), folder("b", true)],
                "/b project_primary b the folder /a of the workspace is not there",
            ),
            (
                None,
                vec![folder("a", false)],
                "/home project_primary a the folder /a is not there; working in the agent's home",
            ),
            (
                None,
                vec![folder("a", false), folder("b", false)],
                "/home project_primary a the folder /a is not there, nor 1 more; working in the agent's home",
            ),
            (None, vec![repo("r", None)], "check out r"),
            (None, vec![folder("a", true), repo("r", None)], "/a project_primary a"),
            (None, vec![folder("a", false), repo("r", None)], "check out r"),
            (None, vec![repo("r", Some(ready))], "/m/r project_primary r"),
            (
                None,
                vec![repo("r", Some(odd))],
                "/m/r project_primary r the folder /m/r is there and is no git checkout; using it as it is",
            ),
            (None, vec![repo("r", Some(failed.clone())), folder("a", true)], "/a project_primary a"),
            (
                Some("r"),
                vec![folder("a", true), repo("r", Some(failed.clone()))],
                "/a project_primary a cannot check the repository out: no network",
            ),
            (
                None,
                vec![repo("r", Some(failed))],
                "/home project_primary r cannot check the repository out: no network | no folder of the \
                 project can be used; working in the agent's home",
            ),
        ] {
            assert_eq!(told(preferred, &candidates), expected, "{preferred:?} {candidates:?}");
        }
        let nowhere = Candidate { cwd: Some(NOWHERE.into()), exists: true, ..repo("r", None) };
        assert_eq!(told(None, &[nowhere]), "check out r");
    }

    #[test]
    fn without_a_project_the_session_decides_and_then_the_home() {
        let candidates = [folder("a", true)];
        let view = |ignores_project: bool, session_cwd| View {
            project: ignores_project.then_some("p"),
            ignores_project,
            candidates: &candidates,
            session_cwd,
            agent_home: "/home",
            ..View::default()
        };
        for (ignores, session, cwd, source, warnings) in [
            (true, None, "/home", Source::AgentHome, 0),
            (false, None, "/home", Source::AgentHome, 0),
            (false, Some(SessionFolder { cwd: "/s", exists: true }), "/s", Source::TaskSession, 0),
            (true, Some(SessionFolder { cwd: "/s", exists: false }), "/home", Source::AgentHome, 1),
        ] {
            let Step::Settled(place) = resolve(&view(ignores, session)) else {
                panic!("nothing to check out")
            };
            assert_eq!((place.cwd.as_str(), place.source, place.warnings.len()), (cwd, source, warnings));
            assert_eq!(place.workspace, None);
        }
    }
}
