//! A wake that asks to go on where an earlier run ended.
//!
//! The caller loads the run that `payload.resumeFromRunId` names and its saved session; here it is decided which session
//! parameters that gives and what the wake is told (spec/heartbeat.md 2.4). An unknown run is no override and no error.

use serde_json::{Map, Value, json};

use super::context::{fill, task_key, text};
use crate::ids::RunId;

/// Session ids shown to people are cut to this many characters.
pub const DISPLAY_LIMIT: usize = 128;

/// The run to resume, of the same company and agent.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRun {
    pub id: RunId,
    pub context: Map<String, Value>,
    /// Session ids before and after it.
    pub session_before: Option<String>,
    pub session_after: Option<String>,
}

/// The saved session of that run's task.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskSession {
    pub last_run: Option<RunId>,
    pub display_id: Option<String>,
    pub params: Option<Value>,
}

/// The session that the new run gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    pub run: RunId,
    pub display_id: String,
    pub params: Value,
}

/// The task key under which the caller looks for the session: that of the run, else that of the wake.
pub fn key_to_resume(run: &EndedRun, of_wake: Option<&str>) -> Option<String> {
    task_key(&run.context, &Map::new()).or_else(|| of_wake.map(str::to_owned))
}

/// Decides which session is resumed; `None` when nothing usable is there.
pub fn decide(run: &EndedRun, session: Option<&TaskSession>) -> Option<Override> {
    let desired = run.session_after.as_deref().or(run.session_before.as_deref()).and_then(shown);
    let belongs = |session: &&TaskSession| {
        session.last_run.as_ref() == Some(&run.id)
            || (desired.is_some() && session.display_id.as_deref() == desired.as_deref())
    };
    let saved = session.filter(belongs);
    let params = saved.and_then(|session| session.params.clone()).filter(|params| !params.is_null());
    let display_id = desired
        .or_else(|| saved.and_then(|session| session.display_id.as_deref()).and_then(shown))
        .or_else(|| params.as_ref().and_then(|params| params["sessionId"].as_str()).and_then(shown))?;
    let params = params.unwrap_or_else(|| json!({ "sessionId": display_id }));
    Some(Override { run: run.id.clone(), display_id, params })
}

/// Tells the wake: the three override keys, and the scope of the run where the wake names none.
pub fn apply(resumed: &Override, run: &EndedRun, context: &mut Map<String, Value>) {
    context.insert("resumeFromRunId".to_owned(), resumed.run.as_str().into());
    context.insert("resumeSessionDisplayId".to_owned(), resumed.display_id.as_str().into());
    context.insert("resumeSessionParams".to_owned(), resumed.params.clone());
    let of_run = |key| text(&run.context, key).map(str::to_owned);
    fill(context, "issueId", of_run("issueId"));
    fill(context, "taskId", of_run("taskId").or_else(|| of_run("issueId")));
    fill(context, "taskKey", task_key(&run.context, &Map::new()));
}

/// The session id that the new run is recorded to start from (spec/heartbeat.md 2.4, `sessionBefore`): the override, else
/// that of the task, else, without a task, that of the agent.
pub fn session_before(
    resumed: Option<&Override>,
    task: Option<&TaskSession>,
    of_agent: Option<&str>,
) -> Option<String> {
    if let Some(resumed) = resumed {
        return Some(resumed.display_id.clone());
    }
    match task {
        Some(task) => task
            .display_id
            .as_deref()
            .or_else(|| task.params.as_ref().and_then(|params| params["sessionId"].as_str()))
            .and_then(shown),
        None => of_agent.map(str::to_owned),
    }
}

/// The number of the continuation that the context carries, 0 for none.
pub fn continuation_attempt(context: &Map<String, Value>) -> u32 {
    context
        .get("livenessContinuationAttempt")
        .and_then(Value::as_u64)
        .and_then(|attempt| u32::try_from(attempt).ok())
        .unwrap_or(0)
}

fn shown(id: &str) -> Option<String> {
    (!id.trim().is_empty()).then(|| id.chars().take(DISPLAY_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn ended(before: Option<&str>, after: Option<&str>) -> EndedRun {
        EndedRun {
            id: "r".into(),
            context: object(json!({"issueId": "i"})),
            session_before: before.map(str::to_owned),
            session_after: after.map(str::to_owned),
        }
    }

    fn saved(last_run: &str, display: Option<&str>, params: Option<Value>) -> Option<TaskSession> {
        Some(TaskSession { last_run: Some(last_run.into()), display_id: display.map(str::to_owned), params })
    }

    #[test]
    fn the_saved_parameters_are_used_when_they_belong_to_the_run() {
        let kept = || Some(json!({"sessionId": "s2", "cwd": "/w"}));
        let bare = |id: &str| Some((id.to_owned(), json!({"sessionId": id})));
        type Row = (&'static str, EndedRun, Option<TaskSession>, Option<(String, Value)>);
        let rows: Vec<Row> = vec![
            (
                "left by that run",
                ended(Some("s1"), Some("s2")),
                saved("r", Some("other"), kept()),
                Some(("s2".into(), json!({"sessionId": "s2", "cwd": "/w"}))),
            ),
            (
                "the same session, left by a later run",
                ended(Some("s1"), Some("s2")),
                saved("x", Some("s2"), kept()),
                Some(("s2".into(), json!({"sessionId": "s2", "cwd": "/w"}))),
            ),
            ("of another session", ended(None, Some("s2")), saved("x", Some("s9"), kept()), bare("s2")),
            ("none saved", ended(Some("s1"), None), None, bare("s1")),
            ("saved without parameters", ended(Some("s1"), None), saved("r", None, None), bare("s1")),
            ("saved as null", ended(Some("s1"), None), saved("r", None, Some(Value::Null)), bare("s1")),
            (
                "the run names no session, its task does",
                ended(None, None),
                saved("r", Some("s3"), None),
                bare("s3"),
            ),
            (
                "only the parameters name one",
                ended(None, None),
                saved("r", None, kept()),
                Some(("s2".into(), json!({"sessionId": "s2", "cwd": "/w"}))),
            ),
            ("nothing usable", ended(None, None), saved("r", None, Some(json!({"cwd": "/w"}))), None),
            ("nothing at all", ended(None, None), None, None),
            ("nobody's session matches nobody's", ended(None, None), saved("x", None, kept()), None),
            ("blank", ended(None, Some(" ")), None, None),
        ];
        for (name, run, session, expected) in rows {
            let found = decide(&run, session.as_ref()).map(|found| (found.display_id, found.params));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn long_session_ids_are_cut() {
        let run = ended(None, Some(&"é".repeat(200)));
        let found = decide(&run, None).expect("a session");
        assert_eq!(found.display_id.chars().count(), 128);
    }

    #[test]
    fn the_wake_takes_the_scope_of_the_run_where_it_names_none() {
        let run = ended(None, Some("s"));
        let resumed = decide(&run, None).expect("a session");
        let mut bare = Map::new();
        apply(&resumed, &run, &mut bare);
        assert_eq!(
            Value::Object(bare),
            json!({"resumeFromRunId": "r", "resumeSessionDisplayId": "s",
                "resumeSessionParams": {"sessionId": "s"}, "issueId": "i", "taskId": "i", "taskKey": "i"})
        );
        let mut own = object(json!({"issueId": "j", "taskId": "t", "taskKey": "k", "resumeFromRunId": "x"}));
        apply(&resumed, &run, &mut own);
        assert_eq!(own["resumeFromRunId"], json!("r"));
        assert_eq!(
            (&own["issueId"], &own["taskId"], &own["taskKey"]),
            (&json!("j"), &json!("t"), &json!("k"))
        );
        let tasked = EndedRun { context: object(json!({"taskId": "t2", "issueId": "i2"})), ..run };
        let mut bare = Map::new();
        apply(&resumed, &tasked, &mut bare);
        assert_eq!((&bare["taskId"], &bare["taskKey"]), (&json!("t2"), &json!("t2")));
    }

    #[test]
    fn the_key_of_the_run_wins_over_that_of_the_wake() {
        let run = ended(None, None);
        assert_eq!(key_to_resume(&run, Some("w")), Some("i".into()));
        let free = EndedRun { context: Map::new(), ..run };
        assert_eq!(key_to_resume(&free, Some("w")), Some("w".into()));
        assert_eq!(key_to_resume(&free, None), None);
    }

    #[test]
    fn a_run_starts_from_the_override_then_its_task_then_its_agent() {
        let resumed = Override { run: "r".into(), display_id: "o".into(), params: Value::Null };
        let task = saved("x", Some("d"), Some(json!({"sessionId": "p"}))).expect("one");
        let undisplayed = TaskSession { display_id: None, ..task.clone() };
        let rows = [
            (Some(&resumed), Some(&task), Some("a"), Some("o")),
            (None, Some(&task), Some("a"), Some("d")),
            (None, Some(&undisplayed), Some("a"), Some("p")),
            (None, Some(&TaskSession::default()), Some("a"), None),
            (None, None, Some("a"), Some("a")),
            (None, None, None, None),
        ];
        for (resumed, task, of_agent, expected) in rows {
            assert_eq!(session_before(resumed, task, of_agent).as_deref(), expected);
        }
    }

    #[test]
    fn only_a_whole_number_counts_as_a_continuation() {
        for (value, expected) in
            [(json!(2), 2), (json!(0), 0), (json!(-1), 0), (json!("2"), 0), (json!(1.5), 0), (Value::Null, 0)]
        {
            let context = object(json!({ "livenessContinuationAttempt": value }));
            assert_eq!(continuation_attempt(&context), expected);
        }
        assert_eq!(continuation_attempt(&Map::new()), 0);
    }
}
