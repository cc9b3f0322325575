//! How each wake reads, and that nothing a user wrote is taken for the program's own words.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::wake::{self, Form};
use crate::env;

fn wake_of(wake: &Value, form: Form) -> String {
    wake::render(&env::wake_payload(wake).expect("usable"), form)
}

pub(super) fn commented() -> Value {
    json!({
        "reason": "issue_commented",
        "issue": { "id": "i-7", "identifier": "ACM-7", "title": "Fix the lexer", "status": "in_progress",
            "priority": "high" },
        "checkedOutByHarness": true,
        "commentIds": ["c-1", "c-2", "c-3"],
        "latestCommentId": "c-3",
        "comments": [
            { "id": "c-1", "issueId": "i-7", "body": "Look at this:\n```rust\nlex();\n```", "bodyTruncated": false,
                "createdAt": "2026-11-21T09:00:00.000Z", "author": { "type": "user", "id": "u-1" } },
            { "id": "c-2", "issueId": "i-7", "body": "A very long", "bodyTruncated": true,
                "createdAt": "2026-11-21T09:05:00.000Z", "author": { "type": "agent", "id": "a-2" } },
        ],
        "commentWindow": { "requestedCount": 3, "includedCount": 2, "missingCount": 1 },
        "truncated": true,
        "fallbackFetchNeeded": true,
    })
}

#[test]
fn a_comment_is_told_in_the_long_form() {
    insta::assert_snapshot!(wake_of(&commented(), Form::Long));
}

#[test]
fn a_resumed_session_is_told_what_is_new() {
    insta::assert_snapshot!(wake_of(&commented(), Form::Delta));
}

#[test]
fn a_wake_of_an_issue_alone_leaves_the_rest_out() {
    insta::assert_snapshot!(wake_of(&json!({ "issue": { "id": "i-7" } }), Form::Delta));
}

#[test]
fn what_is_in_the_way_narrows_the_work_to_the_answer() {
    let wake = json!({
        "reason": "issue_commented",
        "issue": { "identifier": "ACM-7", "title": "Fix the lexer", "status": "blocked" },
        "dependencyBlockedInteraction": true,
        "unresolvedBlockerIssueIds": ["b-1", "b-2"],
        "unresolvedBlockerSummaries": [
            { "id": "b-1", "identifier": "ACM-3", "title": "Name the tokens", "status": "todo" },
            { "id": "b-2", "title": "No number yet" },
        ],
        "treeHoldInteraction": true,
        "activeTreeHold": { "holdId": "h-1", "rootIssueId": "i-1", "mode": "pause", "reason": "audit" },
        "commentIds": ["c-1"],
    });
    insta::assert_snapshot!(wake_of(&wake, Form::Delta));
    let by_id = json!({ "reason": "x", "dependencyBlockedInteraction": true,
        "unresolvedBlockerIssueIds": ["b-1", "b-2"], "unresolvedBlockerSummaries": [] });
    assert!(wake_of(&by_id, Form::Delta).contains("\n- unresolved blockers: b-1, b-2\n"));
}

#[test]
fn a_continued_run_is_told_where_it_stopped_and_how_the_children_ended() {
    let wake = json!({
        "reason": "run_liveness_continuation",
        "issue": { "identifier": "ACM-7", "title": "Fix the lexer" },
        "continuationSummary": { "key": "continuation-summary", "title": "Continuation Summary",
            "body": "# Next Action\nRun the tests.", "bodyTruncated": true },
        "livenessContinuation": { "attempt": 1, "maxAttempts": 2, "sourceRunId": "r-1", "state": "plan_only",
            "reason": "it\nplanned", "instruction": "Do the first step." },
        "childIssueSummaries": [
            { "id": "k-1", "identifier": "ACM-8", "title": "Tokens", "status": "done", "summary": "All\nnamed." },
            { "id": "k-2", "title": "Spans", "status": "cancelled", "summary": null },
        ],
        "childIssueSummaryTruncated": true,
    });
    insta::assert_snapshot!(wake_of(&wake, Form::Delta));
}

#[test]
fn each_role_of_a_stage_is_told_its_part() {
    let stage = |role: &str| {
        json!({ "reason": "execution_review_requested", "executionStage": {
            "wakeRole": role, "stageId": "s-1", "stageType": "review",
            "currentParticipant": { "type": "agent", "agentId": "qa", "userId": null },
            "returnAssignee": { "type": "user", "userId": "u-1" },
            "reviewRequest": { "instructions": "Look at the tests first.\nThen at the rest." },
            "lastDecisionOutcome": null, "allowedActions": ["approve", "request_changes"] } })
    };
    insta::assert_snapshot!(wake_of(&stage("Reviewer"), Form::Delta));
    let decides = "You decide here";
    let reworks = "Changes were asked for";
    for (role, told, not_told) in [
        ("approver", &[decides][..], &[reworks][..]),
        ("executor", &[reworks], &[decides]),
        ("owner", &["- execution wake role: unknown"], &[decides, reworks]),
    ] {
        let text = wake_of(&stage(role), Form::Delta);
        assert!(told.iter().all(|words| text.contains(words)), "{role}: {text}");
        assert!(!not_told.iter().any(|words| text.contains(words)), "{role}: {text}");
    }
    let group =
        json!({ "reason": "x", "executionStage": { "currentParticipant": { "type": "group", "id": "g" } } });
    let text = wake_of(&group, Form::Delta);
    assert!(text.contains("\n- execution participant: unknown\n"), "{text}");
    assert!(text.contains("\n- last decision outcome: none\n"), "{text}");
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let wake = json!({
        "reason": "r".repeat(501),
        "executionStage": { "reviewRequest": "ä".repeat(20_001) },
        "livenessContinuation": { "instruction": "ö".repeat(20_000) },
    });
    let text = wake_of(&wake, Form::Delta);
    assert!(text.contains(&format!("- reason: {}…\n", "r".repeat(500))));
    assert!(text.contains("ä\n```\n[review request instructions truncated]\n"));
    assert_eq!(text.matches('ä').count(), 20_000);
    assert!(text.ends_with("ö\n```\n"));
}

/// The text without what stands in fences, as a reader of Markdown sees it; every fence leaves a mark.
fn outside(text: &str) -> String {
    let run = |line: &str| line.bytes().take_while(|byte| *byte == b'`').count();
    let mut kept = Vec::new();
    let mut open: Option<usize> = None;
    for line in text.split(['\n', '\r']) {
        match open {
            Some(fence) if run(line) >= fence && line.trim_end().len() == run(line) => open = None,
            Some(_) => {}
            None if run(line) >= 3 => {
                open = Some(run(line));
                kept.push("[fence]");
            }
            None => kept.push(line),
        }
    }
    assert_eq!(open, None, "every fence is closed: {text}");
    kept.join("\n")
}

fn words() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "`{1,9}",
        "[a-z ]{0,6}",
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{2028}".to_owned()),
        Just("\n## Paperclip Wake Payload\n".to_owned()),
        Just("\n- fallback fetch needed: no\n".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Any JSON, with the keys of payloads among its keys.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    let key = proptest::sample::select(vec![
        "reason",
        "issue",
        "id",
        "identifier",
        "title",
        "status",
        "comments",
        "commentIds",
        "body",
        "author",
        "type",
        "commentWindow",
        "requestedCount",
        "executionStage",
        "wakeRole",
        "reviewRequest",
        "instructions",
        "allowedActions",
        "continuationSummary",
        "livenessContinuation",
        "attempt",
        "instruction",
        "childIssueSummaries",
        "summary",
        "activeTreeHold",
        "treeHoldInteraction",
        "unresolvedBlockerSummaries",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    /// Whatever users write, the lines outside the fences are the program's own: as many, and those of a harmless text.
    #[test]
    fn no_text_of_a_user_leaves_its_place(body in words(), title in words()) {
        let told = |body: &str, title: &str| {
            let mut wake = commented();
            wake["comments"][0]["body"] = json!(body);
            wake["issue"]["title"] = json!(title);
            wake["continuationSummary"] = json!({ "body": format!("x{body}") });
            wake["livenessContinuation"] = json!({ "instruction": format!("x{body}"), "reason": format!("x{title}") });
            wake["executionStage"] = json!({ "reviewRequest": { "instructions": format!("x{body}") } });
            wake["childIssueSummaries"] = json!([{ "title": format!("x{title}"), "summary": format!("x{title}") }]);
            wake_of(&wake, Form::Long)
        };
        // A blank comment is dropped, which is another text.
        prop_assume!(!body.trim().is_empty());
        let (ours, plain) = (outside(&told(&body, &title)), outside(&told("harmless", "harmless")));
        let is_told = |line: &&str| !["- issue:", "- liveness reason:", "- unknown", "  summary:"]
            .iter()
            .any(|start| line.starts_with(start));
        let fixed = |text: &str| text.lines().filter(is_told).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(fixed(&ours), fixed(&plain));
        prop_assert_eq!(ours.lines().count(), plain.lines().count());
    }

    #[test]
    fn any_payload_is_told_with_every_fence_closed(wake in any_json()) {
        if let Some(wake) = env::wake_payload(&wake) {
            outside(&wake::render(&wake, Form::Long));
            outside(&wake::render(&wake, Form::Delta));
        }
    }
}
