//! Finding the issue that was named, and turning what is in the way of a change into what to type next.

use domain::ids::looks_like_id;
use serde_json::Value as Json;

use super::answer::{listing, text};
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::{Failure, Kind};

/// Returns the issue with this identifier (`ACM-12`), number (`12`) or id, with everything around it.
pub(super) async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let reference = reference(context, client, named).await?;
    client.get(&format!("/issues/{}", encoded(&reference))).await.map_err(|failure| unknown(failure, named))
}

/// The ids of several issues.
pub(super) async fn ids(
    context: &Context,
    client: &Client,
    named: &[String],
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for named in named.iter().filter(|named| !named.trim().is_empty()) {
        let id = text(&find(context, client, named).await?, "id").to_owned();
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

/// An issue as a path names it.
async fn reference(context: &Context, client: &Client, named: &str) -> Result<String, Failure> {
    match Named::read(named) {
        Some(Named::Whole(reference)) => Ok(reference),
        Some(Named::Number(number)) => {
            let company = client.get(&format!("/companies/{}", context.company(client).await?)).await?;
            Ok(format!("{}-{number}", text(&company, "issuePrefix")))
        }
        None => {
            let failure = Failure::usage("issue.reference", format!("`{named}` does not name an issue"));
            Err(failure.hint("name it like ACM-12, by its number or by its id; see: bugle issue list"))
        }
    }
}

/// What was typed for an issue.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// An id or an identifier.
    Whole(String),
    /// The number alone: of the company that is meant.
    Number(String),
}

impl Named {
    fn read(typed: &str) -> Option<Named> {
        let typed = typed.trim();
        if looks_like_id(typed) {
            return Some(Named::Whole(typed.to_ascii_lowercase()));
        }
        let is_number = |text: &str| {
            !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let bare = typed.strip_prefix('#').unwrap_or(typed);
        if is_number(bare) {
            return Some(Named::Number(bare.to_owned()));
        }
        let (prefix, number) = typed.split_once('-')?;
        let is_prefix = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_alphabetic());
        (is_prefix && is_number(number)).then(|| Named::Whole(typed.to_ascii_uppercase()))
    }
}

fn unknown(failure: Failure, named: &str) -> Failure {
    if failure.message == "Issue not found" {
        return Failure::usage("issue.unknown", format!("there is no issue `{}`", named.trim()))
            .hint("see which there are: bugle issue list");
    }
    failure
}

/// Explains why a change of an issue was refused: who or what is in the way, by name, and how to get it out of the way.
pub(super) async fn explained(client: &Client, issue: &Json, failure: Failure) -> Failure {
    let name = text(issue, "identifier").to_owned();
    let detail = |key: &str| {
        failure.details.as_deref().map(|details| text(details, key).to_owned()).filter(|it| !it.is_empty())
    };
    match failure.message.as_str() {
        "Issue not found" => unknown(failure, &name),
        "Issue is blocked by unresolved blockers" | "Issue follow-up blocked by unresolved blockers" => {
            let open = blockers(client, issue).await;
            let first = open.first().cloned().unwrap_or_else(|| name.clone());
            let message = match open.as_slice() {
                [] => format!("{name} is blocked by issues that are not done"),
                open => format!("{name} is blocked: {} must be done first", listing(open)),
            };
            let hint = format!("finish them, or lift the block: bugle issue update {name} --unblock {first}");
            Failure { kind: Kind::Refused, message, hint: Some(hint), ..failure }
        }
        "Issue checkout conflict"
        | "Issue is checked out by another agent"
        | "Issue run ownership conflict"
        | "Only assignee can release issue"
        | "Only checkout run can release issue" => {
            let holder = detail("holderRunId").or_else(|| detail("checkoutRunId"));
            let is_live = failure.details.as_deref().and_then(|it| it.get("holderLive")?.as_bool());
            let (message, hint) = match (holder, is_live) {
                (Some(run), Some(true)) => (
                    format!("{} ({name}): run {run} is working on it", failure.message),
                    format!("watch it: bugle logs {run} -f   take it away: bugle issue force-release {name}"),
                ),
                (Some(run), _) => (
                    format!("{} ({name}): run {run} has it", failure.message),
                    format!(
                        "see that run: bugle run show {run}   take it away: bugle issue force-release {name}"
                    ),
                ),
                (None, _) => (
                    format!("{} ({name} is {})", failure.message, text(issue, "status")),
                    format!("see who has it: bugle issue show {name}"),
                ),
            };
            Failure { message, hint: Some(hint), ..failure }
        }
        "Issue checkout blocked by active subtree pause hold"
        | "Issue follow-up blocked by active subtree pause hold" => {
            let root = held_by(client, issue).await.unwrap_or_else(|| name.clone());
            let message = format!("{name} is on hold, with the whole tree of {root}");
            Failure { message, hint: Some(format!("let it go on: bugle issue unhold {root}")), ..failure }
        }
        _ => {
            let hint = advice(&failure.message, &name).or_else(|| failure.hint.clone());
            let is_rule = failure.code == "unprocessable";
            let kind = if is_rule { Kind::Refused } else { failure.kind };
            Failure { kind, hint, ..failure }
        }
    }
}

/// What to do about a refusal that needs no look at anything else.
fn advice(message: &str, name: &str) -> Option<String> {
    let hint = match message {
        "in_progress issues require an assignee" => {
            format!("say who works on it: bugle issue assign {name} AGENT")
        }
        "Assignee agent not found" | "Assignee must belong to same company" => {
            "see which agents there are: bugle agent list".to_owned()
        }
        "Cannot assign work to terminated agents" => {
            "it was ended for good; see which agents there are: bugle agent list".to_owned()
        }
        "Cannot assign work to pending approval agents" => {
            "decide about it first: bugle approval list".to_owned()
        }
        "Blocking relations cannot contain cycles" | "Issue cannot be blocked by itself" => {
            "see what waits for what: bugle issue show ISSUE".to_owned()
        }
        "Cancelled issues must be restored through the dedicated restore flow" => {
            format!("bring it back: bugle issue reopen {name}; with its tree: bugle issue restore {name}")
        }
        "Project is paused" => "see: bugle project list".to_owned(),
        "Project is paused because its budget hard-stop was reached" => {
            "see what was spent and raise it: bugle budget list".to_owned()
        }
        "Only the active reviewer or approver can advance the current execution stage" => {
            format!("see whose turn it is: bugle issue show {name}")
        }
        _ => return None,
    };
    Some(hint)
}

/// The identifiers of what blocks an issue and is not done.
async fn blockers(client: &Client, issue: &Json) -> Vec<String> {
    let detail = client.get(&format!("/issues/{}", text(issue, "id"))).await.unwrap_or(Json::Null);
    open_blockers(&detail).into_iter().map(|blocker| text(blocker, "identifier").to_owned()).collect()
}

/// What blocks an issue and is not done.
pub(super) fn open_blockers(issue: &Json) -> Vec<&Json> {
    super::answer::rows_at(issue, "blockedBy")
        .iter()
        .filter(|blocker| text(blocker, "status") != "done")
        .collect()
}

/// The identifier of the root whose hold covers an issue.
pub(super) async fn held_by(client: &Client, issue: &Json) -> Option<String> {
    let gate = hold_on(client, issue).await.ok()??;
    Some(root_of(client, &gate).await)
}

/// The hold that covers an issue. Only people are told of it: for an agent there is none to be seen.
pub(super) async fn hold_on(client: &Client, issue: &Json) -> Result<Option<Json>, Failure> {
    let state = match client.get(&format!("/issues/{}/tree-control/state", text(issue, "id"))).await {
        Err(failure) if failure.kind == Kind::Refused => return Ok(None),
        state => state?,
    };
    Ok(state.get("activePauseHold").filter(|gate| gate.is_object()).cloned())
}

/// The identifier of a hold's root.
pub(super) async fn root_of(client: &Client, gate: &Json) -> String {
    let id = text(gate, "rootIssueId");
    match client.get(&format!("/issues/{id}")).await {
        Ok(root) => text(&root, "identifier").to_owned(),
        Err(_) => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issue_is_named_by_identifier_number_or_id() {
        let id = "0192F7A0-0000-4000-8000-00000000000A";
        for (typed, named) in [
            ("acm-12", Some(Named::Whole("ACM-12".into()))),
            (" ACM-12 ", Some(Named::Whole("ACM-12".into()))),
            ("#12", Some(Named::Number("12".into()))),
            ("12", Some(Named::Number("12".into()))),
            (id, Some(Named::Whole(id.to_lowercase()))),
            ("ACM", None),
            ("ACM-", None),
            ("A1-2", None),
            ("../x", None),
            ("", None),
        ] {
            assert_eq!(Named::read(typed), named, "{typed}");
        }
    }

    #[test]
    fn a_blocker_is_open_until_it_is_done() {
        let issue = json!({"blockedBy": [
            {"identifier": "A-1", "status": "done"}, {"identifier": "A-2", "status": "cancelled"},
            {"identifier": "A-3", "status": "todo"},
        ]});
        let open: Vec<&str> = open_blockers(&issue).into_iter().map(|it| text(it, "identifier")).collect();
        assert_eq!(open, ["A-2", "A-3"]);
    }
}
