//! Permissions that agents ask for while they work, as approvals: how they are asked for, and taken back.
//!
//! The id of such an approval is made of the run, the epoch and the name of the request, so that whoever asks again asks
//! for the same one, and nobody can make one by hand that passes for it. When to do what is `domain::permission`;
//! deciding is `approvals`; the process hears of it from the task of its run.

use domain::ids::{IssueId, RunId, mint};
use domain::moment::Moment;
use domain::telling::Permission;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use store::approvals::{self, Approval, Linker, Verdict};
use store::leases::Lease;
use store::runs::Run;
use store::{StoreError, Tx, runs};

use crate::activity::Scribe;
use crate::{settlement, signals};

/// As every request of agents to the board: clients know no other kind that fits.
const KIND: &str = "request_board_approval";
/// As much of the arguments is shown to people, in bytes; what was asked is bound by its hash.
const LONGEST_INPUT: usize = 64 * 1024;
/// As much of the title.
const LONGEST_TITLE: usize = 300;

/// The approval of a request; `ask` is its name within the process.
pub(crate) fn approval_id(run: &RunId, epoch: i64, ask: &str) -> String {
    let digest = Sha256::digest(format!("permission\n{run}\n{epoch}\n{ask}").as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    // Ids sort by their moment: that of the run, which its own id tells.
    let digits: String = run.as_str().chars().filter(|letter| *letter != '-').take(12).collect();
    // Their numbers tell those of one run apart where people type only the beginning.
    let millis = i64::from_str_radix(&digits, 16).unwrap_or(0).saturating_add(ask.parse().unwrap_or(0));
    mint(Moment::from_micros(millis.saturating_mul(1000)), random)
}

/// The run that waits for this approval, when it is one of a permission.
pub(crate) fn run_of(approval: &Approval) -> Option<RunId> {
    let asked = &approval.payload["permission"];
    let run = RunId(asked["runId"].as_str()?.to_owned());
    let (epoch, ask) = (asked["attempt"].as_i64()?, asked["request"].as_str()?);
    (approval_id(&run, epoch, ask) == approval.id).then_some(run)
}

/// The permissions that a run asked people for, oldest first.
async fn all_of(tx: &mut Tx<'_>, run: &Run) -> Result<Vec<Approval>, StoreError> {
    const MOST: i64 = 1_000;
    let Some(since) = run.started_at else { return Ok(Vec::new()) };
    let mut asked = approvals::of_agent_since(tx, &run.company_id, &run.agent_id, since, MOST).await?;
    asked.retain(|approval| run_of(approval).as_ref() == Some(&run.id));
    Ok(asked)
}

/// Those that nobody has answered.
pub(crate) async fn open_of(tx: &mut Tx<'_>, run: &Run) -> Result<Vec<Approval>, StoreError> {
    let mut asked = all_of(tx, run).await?;
    asked.retain(|approval| approval.status == "pending");
    Ok(asked)
}

/// When a run asked people for permissions, and when each of them was answered or taken back.
pub(crate) async fn asked_by(
    tx: &mut Tx<'_>,
    run: &Run,
) -> Result<Vec<(Moment, Option<Moment>)>, StoreError> {
    let own = all_of(tx, run).await?.into_iter();
    let answered = |approval: &Approval| match approval.status.as_str() {
        "pending" | "revision_requested" => None,
        _ => Some(approval.decided_at.unwrap_or(approval.updated_at)),
    };
    Ok(own.map(|approval| (approval.created_at, answered(&approval))).collect())
}

/// Asks people; false when the lease is somebody else's by now.
pub(crate) async fn ask(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    (run, lease): (&Run, &Lease),
    permission: &Permission,
) -> Result<bool, StoreError> {
    if !settlement::holds_lease(tx, lease).await? {
        // A run that is asked to stop asks for nothing any more; its process closes the request itself.
        return Ok(settlement::owned(tx, lease).await?.is_some());
    }
    let id = approval_id(&run.id, lease.epoch, &permission.ask);
    let approval = Approval {
        company_id: run.company_id.clone(),
        kind: KIND.to_owned(),
        requested_by_agent_id: Some(run.agent_id.clone()),
        requested_by_user_id: None,
        status: "pending".to_owned(),
        payload: payload(&run.id, lease.epoch, permission),
        decision_note: None,
        decided_by_user_id: None,
        decided_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
        id,
    };
    if !approvals::insert_once(tx, &approval).await? {
        return Ok(true);
    }
    if let Some(issue) = run.issue_id.clone().map(IssueId) {
        let linker = Linker { agent: Some(run.agent_id.clone()), user: None };
        approvals::link(tx, &run.company_id, &approval.id, &issue, &linker, scribe.now).await?;
    }
    let payload = json!({ "approvalId": approval.id, "tool": permission.tool, "title": permission.title });
    let event = signals::lifecycle("info", "the agent asks for a permission and waits", Some(payload));
    let seq = runs::draw_seq(tx, &run.id, 1).await?;
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, scribe.now).await?;
    tell(tx, scribe, &approval, "approval.created").await?;
    Ok(true)
}

/// Cancels the approval of a request, unless it is decided.
pub(crate) async fn take_back(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    id: &str,
    words: &str,
) -> Result<(), StoreError> {
    let verdict = Verdict { status: "cancelled".to_owned(), note: Some(words.to_owned()), by_user: None };
    if let Some(approval) = approvals::decide(tx, id, &verdict, scribe.now).await? {
        tell(tx, scribe, &approval, "approval.cancelled").await?;
    }
    Ok(())
}

/// Cancels those of the approvals that are not decided.
pub(crate) async fn take_back_all(
    tx: &mut Tx<'_>,
    asked: Option<(Scribe, Vec<String>)>,
    words: &str,
) -> Result<(), StoreError> {
    let Some((mut scribe, approvals)) = asked else { return Ok(()) };
    for approval in approvals {
        take_back(tx, &mut scribe, &approval, words).await?;
    }
    Ok(())
}

async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    approval: &Approval,
    action: &str,
) -> Result<(), StoreError> {
    let details = json!({
        "type": approval.kind, "status": approval.status,
        "requestedByAgentId": approval.requested_by_agent_id,
    });
    scribe.tell(tx, &approval.company_id, action, ("approval", &approval.id), details).await
}

fn payload(run: &RunId, epoch: i64, permission: &Permission) -> Json {
    let (title, tool) = (permission.title.trim(), permission.tool.trim());
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = if title.is_empty() || title == tool { tool.to_owned() } else { format!("{tool}: {title}") };
    let input = permission.input.to_string();
    let is_cut = input.len() > LONGEST_INPUT;
    let shown = match is_cut {
        true => Json::from(&input[..input.floor_char_boundary(LONGEST_INPUT)]),
        false => permission.input.clone(),
    };
    json!({
        "title": format!("permission for {}", &title[..title.floor_char_boundary(LONGEST_TITLE)]),
        "summary": "The agent waits. Approving allows exactly this call, once; rejecting lets it go on without.",
        "tool": tool,
        "input": shown,
        "inputIsCut": is_cut,
        "options": permission.options,
        "permission": { "runId": run, "attempt": epoch, "request": permission.ask, "hash": permission.hash },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission() -> Permission {
        Permission {
            ask: "1".to_owned(),
            hash: "h".to_owned(),
            tool: "Bash".to_owned(),
            title: "echo\n hi".to_owned(),
            input: json!({ "command": "echo hi" }),
            options: Vec::new(),
        }
    }

    fn approval(id: String, payload: Json) -> Approval {
        let now = Moment::from_micros(0);
        Approval {
            id,
            company_id: "acme".into(),
            kind: KIND.to_owned(),
            requested_by_agent_id: None,
            requested_by_user_id: None,
            status: "pending".to_owned(),
            payload,
            decision_note: None,
            decided_by_user_id: None,
            decided_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn an_approval_that_was_made_by_hand_is_no_permission() {
        let run = RunId::mint(Moment::from_micros(1_795_262_400_000_000), [7; 16]);
        let id = approval_id(&run, 2, "1");
        assert!(domain::ids::looks_like_id(&id));
        assert!(id.as_str() > run.as_str() && id[..8] == run.as_str()[..8], "it sorts where its run does");
        assert_ne!(approval_id(&run, 2, "2")[..13], id[..13], "the beginning tells those of a run apart");
        let payload = payload(&run, 2, &permission());
        assert_eq!(payload["title"], "permission for Bash: echo hi");
        assert_eq!(run_of(&approval(id.clone(), payload.clone())), Some(run.clone()));
        assert_eq!(run_of(&approval(RunId::mint(Moment::from_micros(0), [1; 16]).0, payload.clone())), None);
        for other in [approval_id(&run, 1, "1"), approval_id(&run, 2, "2")] {
            assert_ne!(other, id);
            assert_eq!(run_of(&approval(other, payload.clone())), None);
        }
        assert_eq!(run_of(&approval(id, json!({ "title": "permission for Bash" }))), None);
    }

    #[test]
    fn long_arguments_are_cut_and_said_to_be() {
        let long = Permission { input: json!({ "text": "é".repeat(LONGEST_INPUT) }), ..permission() };
        let payload = payload(&"r".into(), 1, &long);
        assert_eq!(payload["inputIsCut"], true);
        assert!(payload["input"].as_str().is_some_and(|input| input.len() <= LONGEST_INPUT));
    }
}
