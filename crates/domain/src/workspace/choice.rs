//! Which mode and strategy a task has: its own settings, then its project's policy, then what suits the folder.
//!
//! Where nobody says anything, a git repository is worked on in a worktree per task and any other folder is shared. What
//! somebody did say is done or refused: a wish for isolation is never quietly turned into a shared folder.

use serde_json::Value as Json;

use super::Mode;

/// What was wished for, as stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes<'a> {
    /// `executionWorkspaceSettings` of the issue.
    pub issue: Option<&'a Json>,
    /// `executionWorkspacePolicy` of the project.
    pub policy: Option<&'a Json>,
    /// `assigneeAdapterOverrides.useProjectWorkspace`, when this agent is the assignee.
    pub use_project_workspace: Option<bool>,
    /// `adapterConfig.workspaceStrategy` of the agent.
    pub agent_strategy: Option<&'a Json>,
    /// The mode, as it is kept, of the workspace that the issue goes on in.
    pub linked: Option<&'a str>,
}

/// How the folder is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strategy {
    /// A worktree of its own; otherwise the folder as it is.
    pub worktree: bool,
    pub base_ref: Option<String>,
    pub branch_template: Option<String>,
    pub parent_dir: Option<String>,
    /// Commands of the host. They come from issues and projects alone, where only people may set them.
    pub provision: Option<String>,
    pub teardown: Option<String>,
}

/// What the folder is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A git repository with a commit to start from.
    Git,
    /// A git repository without any commit.
    EmptyGit,
    /// No git repository.
    Plain,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub mode: Mode,
    pub strategy: Strategy,
    pub warnings: Vec<String>,
}

/// The mode that somebody asked for; `None`: nobody did (spec/heartbeat.md 4.4).
pub fn asked(wishes: &Wishes<'_>) -> Option<Mode> {
    let of_issue = wishes.issue.and_then(|settings| settings["mode"].as_str());
    if let Some(mode) = of_issue.filter(|word| !matches!(*word, "inherit" | "reuse_existing")).and_then(read)
    {
        return Some(mode);
    }
    // What an issue goes on in decides how, unless somebody has said otherwise since.
    let of_linked = wishes.linked.map(|mode| Mode::of_persisted(Some(mode)));
    if let Some(mode) = of_linked.filter(|mode| *mode != Mode::Shared) {
        return Some(mode);
    }
    let is_enabled = |policy: &&Json| policy["enabled"] == Json::Bool(true);
    let of_policy = wishes.policy.filter(is_enabled).and_then(|policy| policy["defaultMode"].as_str());
    if let Some(word) = of_policy {
        return Some(read(word).unwrap_or(Mode::Shared));
    }
    (wishes.use_project_workspace == Some(false)).then_some(Mode::AgentDefault)
}

/// Words of issues and policies, the older ones among them.
fn read(word: &str) -> Option<Mode> {
    match word {
        "project_primary" => Some(Mode::Shared),
        "isolated" => Some(Mode::Isolated),
        "adapter_default" => Some(Mode::AgentDefault),
        word => Mode::parse(word),
    }
}

/// Decides for a folder of this kind; the error says in words why what was asked for cannot be.
pub fn decide(wishes: &Wishes<'_>, asked: Option<Mode>, ground: Ground) -> Result<Choice, String> {
    let found = strategy_of(wishes);
    let wants_worktree = match (asked, &found) {
        (Some(mode), found) => {
            mode == Mode::Isolated && found.as_ref().is_none_or(|strategy| strategy.worktree)
        }
        (None, Some(strategy)) => strategy.worktree,
        (None, None) => ground != Ground::Plain,
    };
    let insists = asked == Some(Mode::Isolated) || found.as_ref().is_some_and(|strategy| strategy.worktree);
    let mut strategy = found.filter(|_| wants_worktree || asked.is_none()).unwrap_or_default();
    strategy.worktree = wants_worktree;
    let mut warnings = Vec::new();
    match ground {
        Ground::Plain if wants_worktree => {
            return Err(
                "an isolated workspace needs a git repository, and the folder of the project is none; \
                        make it one, or choose shared_workspace"
                    .to_owned(),
            );
        }
        Ground::EmptyGit if wants_worktree && insists => {
            return Err(
                "an isolated workspace needs a commit to start from, and the repository has none".to_owned()
            );
        }
        Ground::EmptyGit if wants_worktree => {
            strategy = Strategy::default();
            warnings.push(
                "the repository has no commit yet, so there is nothing to make a worktree of; working in the \
                 folder of the project"
                    .to_owned(),
            );
        }
        Ground::Git | Ground::EmptyGit | Ground::Plain => {}
    }
    let mode = asked.unwrap_or(if strategy.worktree { Mode::Isolated } else { Mode::Shared });
    Ok(Choice { mode, strategy, warnings })
}

/// The first strategy that somebody wrote down: the issue's, the project's, the agent's.
fn strategy_of(wishes: &Wishes<'_>) -> Option<Strategy> {
    let is_enabled = |policy: &&Json| policy["enabled"] == Json::Bool(true);
    let by_people = [wishes.issue, wishes.policy.filter(is_enabled)];
    let by_people = by_people.into_iter().flatten().map(|settings| &settings["workspaceStrategy"]);
    let by_people = by_people.map(|strategy| (strategy, true));
    let by_agent = wishes.agent_strategy.map(|strategy| (strategy, false));
    let (found, may_command) = by_people.chain(by_agent).find(|(strategy, _)| strategy.is_object())?;
    let text =
        |key: &str| found[key].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let command = |key: &str| text(key).filter(|_| may_command);
    Some(Strategy {
        worktree: text("type").as_deref() == Some("git_worktree"),
        base_ref: text("baseRef"),
        branch_template: text("branchTemplate"),
        parent_dir: text("worktreeParentDir"),
        provision: command("provisionCommand"),
        teardown: command("teardownCommand"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_issue_speaks_before_the_policy_and_the_policy_before_the_old_flag() {
        let policy = |mode: &str| json!({"enabled": true, "defaultMode": mode});
        let off = json!({"enabled": false, "defaultMode": "isolated_workspace"});
        let silent = json!({"enabled": true});
        for (issue, policy, flag, expected) in [
            (None, None, None, None),
            (None, Some(off), None, None),
            (None, Some(silent), None, None),
            (None, None, Some(true), None),
            (None, None, Some(false), Some(Mode::AgentDefault)),
            (None, Some(policy("isolated_workspace")), Some(false), Some(Mode::Isolated)),
            (None, Some(policy("adapter_default")), None, Some(Mode::AgentDefault)),
            (None, Some(policy("isolated")), None, Some(Mode::Isolated)),
            (None, Some(policy("operator_branch")), None, Some(Mode::OperatorBranch)),
            (None, Some(policy("no such word")), None, Some(Mode::Shared)),
            (Some("shared_workspace"), Some(policy("isolated_workspace")), None, Some(Mode::Shared)),
            (Some("inherit"), Some(policy("isolated_workspace")), None, Some(Mode::Isolated)),
            (Some("reuse_existing"), None, None, None),
            (Some("no such word"), None, Some(false), Some(Mode::AgentDefault)),
        ] {
            let issue = issue.map(|mode| json!({"mode": mode}));
            let wishes = Wishes {
                issue: issue.as_ref(),
                policy: policy.as_ref(),
                use_project_workspace: flag,
                agent_strategy: None,
                linked: None,
            };
            assert_eq!(asked(&wishes), expected, "{wishes:?}");
        }
    }

    #[test]
    fn an_issue_goes_on_as_it_began_until_somebody_says_otherwise() {
        let policy = json!({"enabled": true, "defaultMode": "shared_workspace"});
        for (issue, linked, expected) in [
            (None, Some("isolated_workspace"), Some(Mode::Isolated)),
            (Some("reuse_existing"), Some("operator_branch"), Some(Mode::OperatorBranch)),
            (Some("shared_workspace"), Some("isolated_workspace"), Some(Mode::Shared)),
            (None, Some("shared_workspace"), Some(Mode::Shared)),
            (None, None, Some(Mode::Shared)),
        ] {
            let issue = issue.map(|mode| json!({"mode": mode}));
            let wishes = Wishes { issue: issue.as_ref(), policy: Some(&policy), linked, ..Wishes::default() };
            assert_eq!(asked(&wishes), expected, "{wishes:?}");
        }
        assert_eq!(asked(&Wishes { linked: Some("shared_workspace"), ..Wishes::default() }), None);
    }

    fn ways(wishes: &Wishes<'_>, ground: Ground) -> Result<(Mode, bool, usize), ()> {
        decide(wishes, asked(wishes), ground)
            .map(|choice| (choice.mode, choice.strategy.worktree, choice.warnings.len()))
            .map_err(|_| ())
    }

    #[test]
    fn git_is_isolated_by_itself_and_nothing_that_was_asked_for_is_dropped() {
        let nothing = Wishes::default();
        assert_eq!(ways(&nothing, Ground::Git), Ok((Mode::Isolated, true, 0)));
        assert_eq!(ways(&nothing, Ground::Plain), Ok((Mode::Shared, false, 0)));
        assert_eq!(ways(&nothing, Ground::EmptyGit), Ok((Mode::Shared, false, 1)));
        let isolated = json!({"mode": "isolated_workspace"});
        let isolated = Wishes { issue: Some(&isolated), ..nothing };
        assert_eq!(ways(&isolated, Ground::Git), Ok((Mode::Isolated, true, 0)));
        assert_eq!(ways(&isolated, Ground::Plain), Err(()));
        assert_eq!(ways(&isolated, Ground::EmptyGit), Err(()));
        let shared = json!({"mode": "shared_workspace", "workspaceStrategy": {"type": "git_worktree"}});
        assert_eq!(
            ways(&Wishes { issue: Some(&shared), ..nothing }, Ground::Git),
            Ok((Mode::Shared, false, 0))
        );
        let own = json!({"type": "git_worktree"});
        let own = Wishes { agent_strategy: Some(&own), ..nothing };
        assert_eq!(ways(&own, Ground::Git), Ok((Mode::Isolated, true, 0)));
        assert_eq!(ways(&own, Ground::Plain), Err(()));
        let primary = json!({"type": "project_primary"});
        let primary = Wishes { agent_strategy: Some(&primary), ..nothing };
        assert_eq!(ways(&primary, Ground::Git), Ok((Mode::Shared, false, 0)));
    }

    #[test]
    fn commands_of_the_host_come_from_people_alone() {
        let strategy = json!({"type": "git_worktree", "provisionCommand": "make", "teardownCommand": " "});
        let policy =
            json!({"enabled": true, "defaultMode": "isolated_workspace", "workspaceStrategy": strategy});
        let by_project = Wishes { policy: Some(&policy), ..Wishes::default() };
        let choice = decide(&by_project, asked(&by_project), Ground::Git).unwrap();
        assert_eq!((choice.strategy.provision.as_deref(), choice.strategy.teardown), (Some("make"), None));
        let by_agent = Wishes { agent_strategy: Some(&strategy), ..Wishes::default() };
        let choice = decide(&by_agent, None, Ground::Git).unwrap();
        assert_eq!((choice.strategy.worktree, choice.strategy.provision), (true, None));
    }
}
