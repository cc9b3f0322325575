//! What a run is told: how a wake fills its context, and how a wake that joins another adds to it.
//!
//! The rules are those of spec/heartbeat.md 2.2 and 2.9. Which wake joins which is not decided here.

use serde_json::{Map, Value};

use super::WakeRequest;
use super::interaction;

/// The key under which a deferred wake keeps its context inside its payload until it is promoted.
pub const PARKED: &str = "_paperclipWakeContext";

/// The key that joins wakes of one agent into one scope: explicit `taskKey`, else `taskId`, else `issueId`, first of the
/// context, then of the payload (spec/heartbeat.md 1.1). `None` is a scope too.
pub fn task_key(context: &Map<String, Value>, payload: &Map<String, Value>) -> Option<String> {
    [context, payload]
        .iter()
        .flat_map(|map| ["taskKey", "taskId", "issueId"].iter().filter_map(|key| text(map, key)))
        .next()
        .map(str::to_owned)
}

/// Fills the context from the request, in the order of spec/heartbeat.md 2.2; what the caller gave is never overwritten.
pub fn enrich(request: &mut WakeRequest) {
    let WakeRequest { source, trigger_detail, reason, payload, context, .. } = request;
    let key = task_key(context, payload);
    let comments = comment_ids(context, payload);
    let payload_issue = text(payload, "issueId").map(str::to_owned);
    let payload_comment = text(payload, "commentId").map(str::to_owned);

    fill(context, "wakeReason", reason.clone());
    fill(context, "issueId", payload_issue.clone());
    fill(context, "taskId", payload_issue);
    fill(context, "taskKey", key);
    fill(context, "commentId", payload_comment);
    set_comments(context, comments);
    fill(context, "wakeSource", Some(source.as_str().to_owned()));
    fill(context, "wakeTriggerDetail", trigger_detail.map(|d| d.as_str().to_owned()));
}

/// Adds what a merged wake brings to the context of the run it joins: incoming keys win, comment ids are joined
/// (spec/heartbeat.md 2.9).
///
/// One thing is kept against an incoming value: the reason and source of a comment that lets the run start where others
/// must not. Else a mention that waits for its start would end as stale because somebody else asked for the same agent.
pub fn merge_context(existing: &Map<String, Value>, incoming: &Map<String, Value>) -> Map<String, Value> {
    let mut comments = comment_ids(existing, &Map::new());
    for id in comment_ids(incoming, &Map::new()) {
        if !comments.contains(&id) {
            comments.push(id);
        }
    }
    let keeps_reason = interaction::is_interaction(existing)
        && !interaction::is_interaction(incoming)
        && !interaction::reason(incoming).is_some_and(gives_the_task);
    let mut merged = existing.clone();
    for (key, value) in incoming {
        if !(keeps_reason && matches!(key.as_str(), "wakeReason" | "reason" | "source")) {
            merged.insert(key.clone(), value.clone());
        }
    }
    set_comments(&mut merged, comments);
    merged
}

/// These hand the task to the agent: whoever is woken by them needs no comment to start.
fn gives_the_task(reason: &str) -> bool {
    reason == "issue_assigned" || reason.starts_with("execution_")
}

/// The payload of a deferred wake: what is stored, then what the caller adds, then the issue, with the context parked
/// inside (spec/heartbeat.md 2.6.1).
pub fn park(
    stored: Option<&Map<String, Value>>,
    payload: &Map<String, Value>,
    issue: &str,
    context: &Map<String, Value>,
) -> Map<String, Value> {
    let mut parked = stored.cloned().unwrap_or_default();
    let before = parked.get(PARKED).and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in payload.iter().filter(|(key, _)| key.as_str() != PARKED) {
        parked.insert(key.clone(), value.clone());
    }
    parked.insert("issueId".to_owned(), issue.into());
    parked.insert(PARKED.to_owned(), merge_context(&before, context).into());
    parked
}

/// Takes the parked context out of the payload of a deferred wake: payload, then context.
pub fn unpark(mut payload: Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let context = match payload.remove(PARKED) {
        Some(Value::Object(context)) => context,
        Some(_) | None => Map::new(),
    };
    (payload, context)
}

/// The project that a wake spends for: the one it names, else that of its issue (spec/heartbeat.md 2.3 row 3).
pub fn project_of(context: &Map<String, Value>, of_issue: Option<&str>) -> Option<String> {
    text(context, "projectId").or(of_issue).map(str::to_owned)
}

/// The ids of the comments that a wake is about, in order, each once.
pub(crate) fn comment_ids(context: &Map<String, Value>, payload: &Map<String, Value>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut push = |id: &str| {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    };
    let listed = context.get("wakeCommentIds").and_then(Value::as_array);
    let listed: Vec<&str> =
        listed.into_iter().flatten().filter_map(Value::as_str).filter(|id| !id.trim().is_empty()).collect();
    if listed.is_empty() {
        ["wakeCommentId", "commentId"].iter().filter_map(|key| text(context, key)).for_each(&mut push);
    } else {
        listed.into_iter().for_each(&mut push);
    }
    text(payload, "commentId").into_iter().for_each(&mut push);
    ids
}

fn set_comments(context: &mut Map<String, Value>, ids: Vec<String>) {
    let Some(last) = ids.last().cloned() else { return };
    context.remove("paperclipWake");
    context.insert("commentId".to_owned(), last.clone().into());
    context.insert("wakeCommentId".to_owned(), last.into());
    context.insert("wakeCommentIds".to_owned(), ids.into());
}

pub(super) fn fill(context: &mut Map<String, Value>, key: &str, value: Option<String>) {
    if let Some(value) = value
        && text(context, key).is_none()
    {
        context.insert(key.to_owned(), value.into());
    }
}

/// A string whose trimmed form is not empty; the untrimmed value is kept.
pub(super) fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Actor, Source, TriggerDetail};
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn request(source: Source) -> WakeRequest {
        WakeRequest {
            source,
            trigger_detail: Some(TriggerDetail::Manual),
            reason: None,
            payload: Map::new(),
            context: Map::new(),
            idempotency_key: None,
            body_hash: "h1".into(),
            actor: Actor::local_board(),
            carries_on: false,
        }
    }

    #[test]
    fn the_task_key_is_looked_up_in_the_context_first() {
        let key = |context: Value, payload: Value| task_key(&object(context), &object(payload));
        assert_eq!(key(json!({}), json!({})), None);
        assert_eq!(key(json!({"issueId": "i"}), json!({"taskKey": "k"})), Some("i".into()));
        assert_eq!(key(json!({"taskKey": " "}), json!({"taskId": "t", "issueId": "i"})), Some("t".into()));
        assert_eq!(key(json!({"taskId": "t", "taskKey": "k", "issueId": "i"}), json!({})), Some("k".into()));
        assert_eq!(key(json!({"taskKey": 7}), json!({})), None);
    }

    #[test]
    fn enrichment_fills_what_is_absent_and_overwrites_nothing() {
        let mut wake = WakeRequest {
            reason: Some("issue_commented".into()),
            payload: object(json!({"issueId": "i1", "commentId": "c2"})),
            context: object(json!({"wakeCommentIds": ["c1"], "wakeReason": "kept", "paperclipWake": {}})),
            ..request(Source::Automation)
        };
        enrich(&mut wake);
        assert_eq!(
            Value::Object(wake.context),
            json!({
                "wakeReason": "kept", "issueId": "i1", "taskId": "i1", "taskKey": "i1",
                "commentId": "c2", "wakeCommentId": "c2", "wakeCommentIds": ["c1", "c2"],
                "wakeSource": "automation", "wakeTriggerDetail": "manual",
            })
        );
    }

    #[test]
    fn enrichment_of_an_empty_wake_names_only_where_it_came_from() {
        let mut wake = WakeRequest { trigger_detail: None, ..request(Source::OnDemand) };
        enrich(&mut wake);
        assert_eq!(Value::Object(wake.context), json!({"wakeSource": "on_demand"}));
    }

    #[test]
    fn a_merge_takes_the_newer_value_and_joins_comments() {
        let merged = merge_context(
            &object(json!({"a": 1, "b": 1, "wakeCommentIds": ["c1", "c2"], "paperclipWake": 1})),
            &object(json!({"b": 2, "commentId": "c2"})),
        );
        assert_eq!(
            Value::Object(merged),
            json!({"a": 1, "b": 2, "wakeCommentIds": ["c1", "c2"], "commentId": "c2", "wakeCommentId": "c2"})
        );
        let plain = merge_context(&object(json!({"paperclipWake": 1})), &object(json!({"x": null})));
        assert_eq!(Value::Object(plain), json!({"paperclipWake": 1, "x": null}));
    }

    #[test]
    fn a_comment_that_waits_keeps_its_reason_unless_the_task_is_handed_over() {
        let waits = object(json!({"wakeReason": "issue_comment_mentioned", "source": "comment.mention",
            "wakeCommentIds": ["c1"]}));
        let rows = [
            (
                json!({"wakeReason": "issue_status_changed", "source": "issue.status_change"}),
                "issue_comment_mentioned",
            ),
            (json!({"wakeReason": "approval_approved"}), "issue_comment_mentioned"),
            (json!({"reason": "own"}), "issue_comment_mentioned"),
            (json!({"x": 1}), "issue_comment_mentioned"),
            (json!({"wakeReason": "issue_assigned", "source": "issue.update"}), "issue_assigned"),
            (json!({"wakeReason": "execution_review_requested"}), "execution_review_requested"),
            (
                json!({"wakeReason": "issue_commented", "source": "issue.comment", "commentId": "c2"}),
                "issue_commented",
            ),
        ];
        for (incoming, reason) in rows {
            let merged = merge_context(&waits, &object(incoming.clone()));
            assert_eq!(merged["wakeReason"], json!(reason), "{incoming}");
            let keeps = reason == "issue_comment_mentioned";
            assert_eq!(
                merged["source"] == json!("comment.mention"),
                keeps || incoming.get("source").is_none()
            );
            assert_eq!(merged.get("reason"), None);
            assert_eq!(merged.get("x"), incoming.get("x"));
        }
        let plain = object(json!({"wakeReason": "issue_assigned", "source": "issue.create"}));
        let merged =
            merge_context(&plain, &object(json!({"wakeReason": "issue_status_changed", "source": "s"})));
        assert_eq!(Value::Object(merged), json!({"wakeReason": "issue_status_changed", "source": "s"}));
    }

    #[test]
    fn a_deferred_wake_keeps_all_comments_and_what_later_ones_add() {
        let first = park(
            None,
            &object(json!({"commentId": "c1", "mutation": "comment"})),
            "i",
            &object(json!({"wakeCommentIds": ["c1"], "wakeReason": "issue_commented"})),
        );
        let second = park(
            Some(&first),
            &object(json!({"commentId": "c2", "_paperclipWakeContext": {"forged": true}})),
            "i",
            &object(json!({"wakeCommentIds": ["c2"], "wakeReason": "issue_commented"})),
        );
        let (payload, context) = unpark(second);
        assert_eq!(Value::Object(payload), json!({"commentId": "c2", "mutation": "comment", "issueId": "i"}));
        assert_eq!(
            Value::Object(context),
            json!({"wakeReason": "issue_commented", "wakeCommentIds": ["c1", "c2"], "commentId": "c2",
                "wakeCommentId": "c2"})
        );
        let (payload, context) = unpark(object(json!({"_paperclipWakeContext": 7, "a": 1})));
        assert_eq!((Value::Object(payload), context), (json!({"a": 1}), Map::new()));
    }

    #[test]
    fn the_project_of_the_context_wins_over_that_of_the_issue() {
        let named = object(json!({"projectId": "p"}));
        assert_eq!(project_of(&named, Some("q")), Some("p".into()));
        assert_eq!(project_of(&Map::new(), Some("q")), Some("q".into()));
        assert_eq!(project_of(&object(json!({"projectId": " "})), None), None);
    }
}
