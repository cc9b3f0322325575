//! The wake payload (`paperclipWake`): why the agent is woken and what is new, as data.
//!
//! Bounded, because it travels in a prompt and in an environment variable: an agent that needs more is told to fetch
//! it. Most of it is passed on from the run's context, where the wakes left it; comments, the issue and its summary are
//! loaded afresh, so that a run that waited is not told of yesterday.

use serde_json::{Map, Value, json};

use super::quote::shorten;
use crate::ids::{CommentId, IssueId};
use crate::issue::{IssueStatus, Principal, Priority};
use crate::moment::Moment;
use crate::wake::context;

/// How many comments are told.
pub const MOST_COMMENTS: usize = 8;
/// Longest body of one comment, and of the continuation summary, in characters.
pub const LONGEST_BODY: usize = 4_000;
/// Longest bodies of all comments together, in characters.
pub const LONGEST_BODIES: usize = 12_000;

/// Everything the payload may tell.
#[derive(Debug, Clone, Copy)]
pub struct PayloadView<'a> {
    /// The run's context snapshot.
    pub context: &'a Map<String, Value>,
    /// The issue of the run, as it is now.
    pub issue: Option<&'a TaskIssue>,
    /// Those of [`comment_ids`] that exist in the company, in any order.
    pub comments: &'a [TaskComment],
    /// The issue's continuation summary.
    pub summary: Option<&'a SummaryDocument>,
}

/// An issue as its run is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskIssue {
    pub id: IssueId,
    pub identifier: Option<String>,
    pub title: String,
    pub description: Option<String>,
    pub status: IssueStatus,
    pub priority: Priority,
}

/// A comment that a run is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskComment {
    pub id: CommentId,
    pub issue: IssueId,
    pub body: String,
    /// `None` when the program wrote it.
    pub author: Option<Principal>,
    pub written_at: Moment,
}

/// The continuation summary as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryDocument {
    pub key: String,
    pub title: Option<String>,
    pub body: String,
    pub updated_at: Moment,
}

/// The comments that a run is woken for, oldest first, each once; what the payload needs to be loaded.
pub fn comment_ids(context: &Map<String, Value>) -> Vec<CommentId> {
    context::comment_ids(context, &Map::new()).into_iter().map(CommentId).collect()
}

/// Whether a run with this context has anything to be told: then what it is about has to be loaded.
pub fn is_needed(context: &Map<String, Value>, has_issue: bool) -> bool {
    has_issue
        || context.contains_key("bugleAutomation")
        || stage(context).is_some()
        || !comment_ids(context).is_empty()
}

fn stage(context: &Map<String, Value>) -> Option<&Value> {
    context.get("executionStage").filter(|stage| stage.as_object().is_some_and(|it| !it.is_empty()))
}

/// Makes the payload; `None` when there is no issue, no comment and no stage to tell of.
///
/// Comments are told in the order of their ids in the context until a bound is reached; what lies behind it is only
/// counted as asked for. An id without a comment is counted as missing.
pub fn payload(view: &PayloadView<'_>) -> Option<Value> {
    let context = view.context;
    if !is_needed(context, view.issue.is_some()) {
        return None;
    }
    let (ids, stage) = (comment_ids(context), stage(context));
    let told = tell(&ids, view.comments);
    let is_needed = told.is_cut || told.missing > 0;
    Some(json!({
        "reason": text(context, "wakeReason"),
        "issue": view.issue.map(issue),
        "checkedOutByHarness": is_true(context, "paperclipHarnessCheckedOut"),
        "dependencyBlockedInteraction": is_true(context, "dependencyBlockedInteraction"),
        "treeHoldInteraction": is_true(context, "treeHoldInteraction"),
        "activeTreeHold": context.get("activeTreeHold").filter(|it| it.is_object()).cloned().unwrap_or(json!({})),
        "unresolvedBlockerIssueIds": list(context, "unresolvedBlockerIssueIds"),
        "unresolvedBlockerSummaries": list(context, "unresolvedBlockerSummaries"),
        "executionStage": stage,
        "continuationSummary": view.summary.map(summary),
        "livenessContinuation": continuation(context),
        "childIssueSummaries": list(context, "childIssueSummaries"),
        "childIssueSummaryTruncated": is_true(context, "childIssueSummaryTruncated"),
        "commentIds": ids,
        "latestCommentId": ids.last(),
        "comments": told.comments,
        "commentWindow": {
            "requestedCount": ids.len(), "includedCount": told.comments.len(), "missingCount": told.missing,
        },
        "truncated": told.is_cut,
        "fallbackFetchNeeded": is_needed,
    }))
}

/// The comments of a payload.
struct Told {
    comments: Vec<Value>,
    /// Ids before the bound that stand for nothing.
    missing: usize,
    /// A body or the list was cut.
    is_cut: bool,
}

fn tell(ids: &[CommentId], found: &[TaskComment]) -> Told {
    let mut told = Told { comments: Vec::new(), missing: 0, is_cut: false };
    let mut room = LONGEST_BODIES;
    for id in ids {
        if told.comments.len() == MOST_COMMENTS || room == 0 {
            told.is_cut = true;
            break;
        }
        let Some(comment) = found.iter().find(|comment| comment.id == *id) else {
            told.missing += 1;
            continue;
        };
        let (body, is_cut) = shorten(&comment.body, LONGEST_BODY.min(room));
        room -= body.chars().count();
        told.is_cut |= is_cut;
        let (kind, author) = match &comment.author {
            Some(Principal::Agent(agent)) => ("agent", Some(agent.as_str())),
            Some(Principal::User(user)) => ("user", Some(user.as_str())),
            None => ("system", None),
        };
        told.comments.push(json!({
            "id": comment.id, "issueId": comment.issue, "body": body, "bodyTruncated": is_cut,
            "createdAt": comment.written_at, "author": { "type": kind, "id": author },
        }));
    }
    told
}

fn issue(issue: &TaskIssue) -> Value {
    json!({
        "id": issue.id, "identifier": issue.identifier, "title": issue.title, "status": issue.status,
        "priority": issue.priority,
    })
}

fn summary(document: &SummaryDocument) -> Value {
    let (body, is_cut) = shorten(&document.body, LONGEST_BODY);
    json!({
        "key": document.key, "title": document.title, "body": body, "bodyTruncated": is_cut,
        "updatedAt": document.updated_at,
    })
}

/// What a continued run is told; a context without a state, an instruction, a source or a number names none.
fn continuation(context: &Map<String, Value>) -> Option<Value> {
    let number = |key: &str| context.get(key).filter(|value| value.is_number());
    let attempt = number("livenessContinuationAttempt");
    let source = text(context, "livenessContinuationSourceRunId");
    let state = text(context, "livenessContinuationState");
    let instruction = text(context, "livenessContinuationInstruction");
    if attempt.is_none() && source.is_none() && state.is_none() && instruction.is_none() {
        return None;
    }
    Some(json!({
        "attempt": attempt, "maxAttempts": number("livenessContinuationMaxAttempts"), "sourceRunId": source,
        "state": state, "reason": text(context, "livenessContinuationReason"), "instruction": instruction,
    }))
}

/// A text that says anything, trimmed.
fn text<'a>(context: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    context.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

fn list<'a>(context: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    context.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_true(context: &Map<String, Value>, key: &str) -> bool {
    context.get(key) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn sample() -> TaskIssue {
        TaskIssue {
            id: "i".into(),
            identifier: Some("ACM-7".into()),
            title: "Fix the lexer".into(),
            description: Some("not told here".into()),
            status: IssueStatus::InProgress,
            priority: Priority::High,
        }
    }

    fn comment(id: &str, body: &str) -> TaskComment {
        TaskComment {
            id: id.into(),
            issue: "i".into(),
            body: body.into(),
            author: Some(Principal::User("u".into())),
            written_at: Moment::from_micros(0),
        }
    }

    fn made(context: Value, issue: Option<&TaskIssue>, comments: &[TaskComment]) -> Option<Value> {
        payload(&PayloadView { context: &object(context), issue, comments, summary: None })
    }

    #[test]
    fn an_issue_alone_is_told_with_every_field_empty() {
        assert_eq!(
            made(json!({ "wakeReason": "issue_assigned" }), Some(&sample()), &[]),
            Some(json!({
                "reason": "issue_assigned",
                "issue": { "id": "i", "identifier": "ACM-7", "title": "Fix the lexer", "status": "in_progress",
                    "priority": "high" },
                "checkedOutByHarness": false,
                "dependencyBlockedInteraction": false,
                "treeHoldInteraction": false,
                "activeTreeHold": {},
                "unresolvedBlockerIssueIds": [],
                "unresolvedBlockerSummaries": [],
                "executionStage": null,
                "continuationSummary": null,
                "livenessContinuation": null,
                "childIssueSummaries": [],
                "childIssueSummaryTruncated": false,
                "commentIds": [],
                "latestCommentId": null,
                "comments": [],
                "commentWindow": { "requestedCount": 0, "includedCount": 0, "missingCount": 0 },
                "truncated": false,
                "fallbackFetchNeeded": false,
            }))
        );
    }

    #[test]
    fn without_issue_comment_and_stage_there_is_nothing_to_tell() {
        let stage = json!({ "wakeRole": "reviewer" });
        let rows = [
            (json!({}), false),
            (json!({ "wakeReason": "timer", "livenessContinuationState": "plan_only" }), false),
            (json!({ "executionStage": {} }), false),
            (json!({ "executionStage": "reviewer" }), false),
            (json!({ "wakeCommentIds": [" ", 7] }), false),
            (json!({ "executionStage": stage }), true),
            (json!({ "commentId": "c" }), true),
        ];
        for (context, is_told) in rows {
            let payload = made(context.clone(), None, &[]);
            assert_eq!(payload.is_some(), is_told, "{context}");
            assert!(payload.is_none_or(|payload| payload["issue"].is_null()));
        }
        assert_eq!(
            made(json!({ "executionStage": stage }), None, &[]).map(|told| told["executionStage"].clone()),
            Some(stage)
        );
    }

    #[test]
    fn everything_the_wakes_left_in_the_context_is_passed_on() {
        let hold = json!({ "holdId": "h", "rootIssueId": "r", "mode": "pause" });
        let told = made(
            json!({
                "paperclipHarnessCheckedOut": true, "dependencyBlockedInteraction": true, "treeHoldInteraction": true,
                "activeTreeHold": hold, "unresolvedBlockerIssueIds": ["b"],
                "unresolvedBlockerSummaries": [{ "id": "b" }], "childIssueSummaries": [{ "id": "k" }],
                "childIssueSummaryTruncated": true, "livenessContinuationAttempt": 1,
                "livenessContinuationMaxAttempts": 2, "livenessContinuationSourceRunId": "run",
                "livenessContinuationState": "plan_only", "livenessContinuationReason": "it planned",
                "livenessContinuationInstruction": " go on ",
            }),
            Some(&sample()),
            &[],
        )
        .expect("told");
        let flags = ["checkedOutByHarness", "dependencyBlockedInteraction", "treeHoldInteraction"];
        assert!(flags.iter().all(|flag| told[flag] == json!(true)));
        assert_eq!(told["childIssueSummaryTruncated"], json!(true));
        assert_eq!(told["activeTreeHold"], hold);
        assert_eq!(told["unresolvedBlockerIssueIds"], json!(["b"]));
        assert_eq!(told["unresolvedBlockerSummaries"], json!([{ "id": "b" }]));
        assert_eq!(told["childIssueSummaries"], json!([{ "id": "k" }]));
        assert_eq!(
            told["livenessContinuation"],
            json!({ "attempt": 1, "maxAttempts": 2, "sourceRunId": "run", "state": "plan_only",
                "reason": "it planned", "instruction": "go on" })
        );
    }

    #[test]
    fn values_of_a_wrong_shape_count_as_absent() {
        let told = made(
            json!({
                "wakeReason": 7, "paperclipHarnessCheckedOut": "true", "dependencyBlockedInteraction": 1,
                "activeTreeHold": [], "unresolvedBlockerIssueIds": "b", "childIssueSummaries": {},
                "livenessContinuationAttempt": "1", "livenessContinuationState": " ",
            }),
            Some(&sample()),
            &[],
        )
        .expect("told");
        let plain = made(json!({}), Some(&sample()), &[]).expect("told");
        assert_eq!(told, plain);
    }

    #[test]
    fn a_continuation_is_told_by_any_of_four_marks() {
        for (key, value, is_told) in [
            ("livenessContinuationAttempt", json!(1), true),
            ("livenessContinuationState", json!("silent"), true),
            ("livenessContinuationInstruction", json!("go on"), true),
            ("livenessContinuationSourceRunId", json!("r"), true),
            ("livenessContinuationReason", json!("why"), false),
            ("livenessContinuationMaxAttempts", json!(2), false),
        ] {
            let context = object(json!({ key: value }));
            assert_eq!(continuation(&context).is_some(), is_told, "{key}");
        }
    }

    #[test]
    fn comments_come_in_the_order_of_their_ids_and_holes_are_counted() {
        let found = [comment("c3", "three"), comment("other", "not asked for"), comment("c1", "one")];
        let told = made(json!({ "wakeCommentIds": ["c1", "c2", "c3", "c1"] }), None, &found).expect("told");
        assert_eq!(
            told["comments"],
            json!([
                { "id": "c1", "issueId": "i", "body": "one", "bodyTruncated": false,
                    "createdAt": "1970-01-01T00:00:00.000Z", "author": { "type": "user", "id": "u" } },
                { "id": "c3", "issueId": "i", "body": "three", "bodyTruncated": false,
                    "createdAt": "1970-01-01T00:00:00.000Z", "author": { "type": "user", "id": "u" } },
            ])
        );
        assert_eq!(
            told["commentWindow"],
            json!({ "requestedCount": 3, "includedCount": 2, "missingCount": 1 })
        );
        assert_eq!(told["commentIds"], json!(["c1", "c2", "c3"]));
        assert_eq!(told["latestCommentId"], json!("c3"));
        assert_eq!((&told["truncated"], &told["fallbackFetchNeeded"]), (&json!(false), &json!(true)));
    }

    #[test]
    fn an_author_is_an_agent_a_person_or_the_program() {
        let by = |author| TaskComment { author, ..comment("c", "x") };
        for (author, shown) in [
            (Some(Principal::Agent("a".into())), json!({ "type": "agent", "id": "a" })),
            (Some(Principal::User("u".into())), json!({ "type": "user", "id": "u" })),
            (None, json!({ "type": "system", "id": null })),
        ] {
            let told = made(json!({ "commentId": "c" }), None, &[by(author)]).expect("told");
            assert_eq!(told["comments"][0]["author"], shown);
        }
    }

    /// Lengths of the bodies, what comes out of them, whether each was cut, and whether anything was.
    #[test]
    fn bodies_are_told_up_to_their_bounds() {
        type Row<'a> = (&'a [usize], &'a [usize], &'a [bool], bool);
        let rows: &[Row<'_>] = &[
            (&[0], &[0], &[false], false),
            (&[4_000], &[4_000], &[false], false),
            (&[4_001], &[4_000], &[true], true),
            (&[4_000, 4_000, 4_000], &[4_000, 4_000, 4_000], &[false, false, false], false),
            (&[4_000, 4_000, 4_000, 1], &[4_000, 4_000, 4_000], &[false, false, false], true),
            (
                &[3_000, 4_000, 4_000, 1_001],
                &[3_000, 4_000, 4_000, 1_000],
                &[false, false, false, true],
                true,
            ),
            (&[1; 8], &[1; 8], &[false; 8], false),
            (&[1; 9], &[1; 8], &[false; 8], true),
        ];
        for (lengths, expected, cut, truncated) in rows {
            let ids: Vec<String> = (0..lengths.len()).map(|n| format!("c{n}")).collect();
            let found: Vec<TaskComment> =
                ids.iter().zip(*lengths).map(|(id, length)| comment(id, &"ä".repeat(*length))).collect();
            let told = made(json!({ "wakeCommentIds": ids }), None, &found).expect("told");
            let comments = told["comments"].as_array().expect("a list");
            let bodies: Vec<usize> =
                comments.iter().map(|it| it["body"].as_str().expect("a text").chars().count()).collect();
            let cuts: Vec<bool> = comments.iter().map(|it| it["bodyTruncated"] == json!(true)).collect();
            assert_eq!((bodies.as_slice(), cuts.as_slice()), (*expected, *cut), "{lengths:?}");
            assert_eq!(told["truncated"], json!(truncated), "{lengths:?}");
            assert_eq!(told["fallbackFetchNeeded"], json!(truncated), "{lengths:?}");
            assert_eq!(
                told["commentWindow"],
                json!({ "requestedCount": lengths.len(), "includedCount": expected.len(), "missingCount": 0 })
            );
        }
    }

    #[test]
    fn a_summary_is_told_up_to_its_bound() {
        for (length, told, is_cut) in [(3, 3, false), (4_000, 4_000, false), (4_001, 4_000, true)] {
            let document = SummaryDocument {
                key: crate::summary::KEY.into(),
                title: None,
                body: "x".repeat(length),
                updated_at: Moment::from_micros(1_000),
            };
            let context = Map::new();
            let view = PayloadView {
                context: &context,
                issue: Some(&sample()),
                comments: &[],
                summary: Some(&document),
            };
            assert_eq!(
                payload(&view).expect("told")["continuationSummary"],
                json!({ "key": "continuation-summary", "title": null, "body": "x".repeat(told),
                    "bodyTruncated": is_cut, "updatedAt": "1970-01-01T00:00:00.001Z" })
            );
        }
    }
}
