//! What the audit chain keeps of a person's verdict on a permission, a question or another approval: what was asked, by
//! its hash, who asked it in which run, and what was said to it.
//!
//! The hash is the one that an answer names (`gates`). What was asked itself stays where it is: it may be long, and hold
//! secrets. Gates of automations have records of their own.

use adapters::redacted;
use domain::gate::{Answer, GateKind};
use serde_json::{Value as Json, json};
use store::approvals::Approval;
use store::interactions::Interaction;

use crate::{gates, permissions};

/// Of an approval as it was when it was decided.
pub(crate) fn of_approval(asked: &Approval, answer: Answer, note: Option<&str>) -> Json {
    let run = permissions::run_of(asked);
    let kind = if run.is_some() { GateKind::Permission } else { GateKind::Approval };
    let mut kept = json!({
        "words": asked.kind, "kind": kind, "type": asked.kind, "decision": answer,
        "hash": gates::hash_of_approval(asked), "reason": note,
        "requestedByAgentId": asked.requested_by_agent_id, "requestedByUserId": asked.requested_by_user_id,
    });
    if let Some(run) = run {
        kept["runId"] = json!(run);
        kept["attempt"] = asked.payload["permission"]["attempt"].clone();
        kept["tool"] = asked.payload["tool"].clone();
    }
    redacted(kept)
}

/// Of a question as it was asked, with what it became.
pub(crate) fn of_question(asked: &Interaction, answer: Answer, resolved: &Interaction) -> Json {
    let result = resolved.result.as_ref().unwrap_or(&Json::Null);
    let texts = ["reason", "rejectionReason", "summaryMarkdown"].map(|field| &result[field]);
    let reason = texts.into_iter().find(|text| !text.is_null());
    let mut kept = json!({
        "words": resolved.status, "kind": GateKind::Question, "type": asked.kind, "decision": answer,
        "status": resolved.status, "hash": gates::hash_of_question(asked), "reason": reason,
        "issueId": asked.issue_id, "runId": asked.source_run_id,
        "requestedByAgentId": asked.created_by_agent_id, "requestedByUserId": asked.created_by_user_id,
    });
    if result["answers"].is_array() {
        kept["answers"] = result["answers"].clone();
    }
    if let Some(tasks) = result["createdTasks"].as_array() {
        let made = |task: &Json| json!({ "clientKey": task["clientKey"], "issueId": task["issueId"] });
        kept["createdTasks"] = tasks.iter().map(made).collect();
    }
    redacted(kept)
}

#[cfg(test)]
mod tests {
    use domain::moment::Moment;

    use super::*;

    fn approval(payload: Json) -> Approval {
        let now = Moment::from_micros(0);
        Approval {
            id: "a".into(),
            company_id: "acme".into(),
            kind: "hire_agent".into(),
            requested_by_agent_id: Some("ada".into()),
            requested_by_user_id: None,
            status: "pending".into(),
            payload,
            decision_note: None,
            decided_by_user_id: None,
            decided_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn a_verdict_is_kept_with_its_reason_and_the_hash_of_what_was_asked_and_without_its_payload() {
        let asked = approval(json!({ "name": "Bob", "adapterConfig": { "apiKey": "s3cret" } }));
        let kept = of_approval(&asked, Answer::Reject, Some("too dear"));
        assert_eq!(
            kept,
            json!({
                "words": "hire_agent", "kind": "approval", "type": "hire_agent", "decision": "reject",
                "hash": gates::hash_of_approval(&asked), "reason": "too dear",
                "requestedByAgentId": "ada", "requestedByUserId": null,
            })
        );
        assert!(!kept.to_string().contains("s3cret"));
        let other = of_approval(&approval(json!({ "name": "Eve" })), Answer::Reject, None);
        assert_ne!(kept["hash"], other["hash"]);
    }

    #[test]
    fn a_token_that_somebody_pasted_as_the_reason_is_not_kept() {
        let token = "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl";
        let kept = of_approval(&approval(json!({})), Answer::Approve, Some(token));
        assert_eq!(kept["reason"], adapters::REDACTED);
    }
}
