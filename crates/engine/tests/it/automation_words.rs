//! What people, reviewers and contracts say to a step: it reaches every attempt until the work is done, and what a reviewer
//! sends back is not done twice that may be done once.

use std::time::Duration;

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, NodeState};
use domain::ids::AutomationRunId;
use domain::wake::Actor;
use engine::{Asked, AutomationRunView, GateDecision};
use serde_json::{Value as Json, json};
use store::automations::gates::GateRow;
use testkit::{World, both_stores};

use crate::automations::{Line, gate, result, state, step};

const REJECTS: &str = "{\"approved\": false, \"feedback\": \"shorter\"}";
const APPROVES: &str = "{\"approved\": true}";

fn review(id: &str, before: &[&str]) -> Json {
    let mut review = step(id, before);
    review["kind"] = json!("review");
    review
}

/// A step that is published once, beside the review of what it publishes.
fn published_once() -> Json {
    let mut publish = step("publish", &["draft"]);
    publish["repeatable"] = json!(false);
    json!([step("draft", &[]), publish, review("review", &["draft"])])
}

/// What the agent of an attempt is told of the attempts before; it works.
async fn told(line: &Line, run: &AutomationRunId, node: &str, attempt: i64) -> Json {
    let process = line.process(run, node, attempt).await;
    line.world.run(&process.run).await.context["bugleAutomation"].clone()
}

async fn fails(line: &Line, run: &AutomationRunId, node: &str, attempt: i64) {
    let process = line.process(run, node, attempt).await;
    line.world.model.exit(&process, 1);
}

async fn decide(line: &Line, asked: &GateRow, decision: Decision, words: &str, targets: &[&str]) {
    let decision = GateDecision {
        decision,
        hash: asked.hash.clone(),
        reason: Some(words.to_owned()),
        targets: targets.iter().map(|id| (*id).to_owned()).collect(),
    };
    line.engine.decide_gate(&asked.id, decision, &Line::board()).await.unwrap();
}

async fn retry(line: &Line, run: &AutomationRunId, node: &str) {
    let asked = Asked { node: Some(node.to_owned()), ..Asked::new(Operation::Retry) };
    line.engine.operate(run, asked, &Line::board()).await.unwrap();
}

fn reason(view: &AutomationRunView, node: &str) -> String {
    view.nodes.iter().find(|it| it.node_id == node).unwrap().reason.clone().unwrap_or_default()
}

fn attempts(view: &AutomationRunView, node: &str) -> usize {
    view.attempts.iter().filter(|it| it.node_id == node).count()
}

both_stores! {
    async fn what_a_person_said_reaches_every_attempt_until_the_work_is_done(world) {
        let line = Line::new(world).await;
        let mut asking = step("a", &[]);
        asking["output"] = json!({ "sections": ["Colours"] });
        let run = line.started(json!([asking])).await;
        line.says(&run, "a", 1, "{\"status\": \"ask\", \"question\": \"Which one?\"}").await;
        let asked = line.gate(&run, "a").await;
        decide(&line, &asked, Decision::Approve, "the blue one", &[]).await;
        fails(&line, &run, "a", 2).await;
        let third = told(&line, &run, "a", 3).await;
        assert_eq!((&third["feedback"], &third["answered"]), (&json!("a asks: Which one?\n\nthe blue one"), &json!(true)));
        line.says(&run, "a", 3, "no heading").await;
        let both = |told: &Json| {
            let words = told["feedback"].as_str().unwrap();
            assert!(words.contains("the blue one") && words.contains("no section \"Colours\""), "{words}");
            assert_eq!(told["answered"], json!(true));
        };
        both(&told(&line, &run, "a", 4).await);
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        line.operate(&run, Operation::Resume).await.unwrap();
        both(&told(&line, &run, "a", 5).await);
        // It asks once more: the first answer is not forgotten over the second one.
        line.says(&run, "a", 5, "{\"status\": \"ask\", \"question\": \"How large?\"}").await;
        let asked = line.gate(&run, "a").await;
        decide(&line, &asked, Decision::Approve, "small", &[]).await;
        let sixth = told(&line, &run, "a", 6).await;
        both(&sixth);
        assert!(sixth["feedback"].as_str().unwrap().contains("How large?\n\nsmall"), "{sixth}");
        line.says(&run, "a", 6, "# Colours").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((view.nodes[0].feedback.as_deref(), view.nodes[0].attempts), (None, 2));
        line.engine.leave().await;
    }

    async fn what_a_reviewer_said_outlives_an_attempt_that_failed(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("draft", &[]), review("review", &["draft"])])).await;
        line.says(&run, "draft", 1, "a text").await;
        line.says(&run, "review", 1, REJECTS).await;
        fails(&line, &run, "draft", 2).await;
        let third = told(&line, &run, "draft", 3).await;
        assert_eq!((&third["feedback"], &third["answered"]), (&json!("shorter"), &Json::Null));
        line.says(&run, "draft", 3, "a short text").await;
        line.says(&run, "review", 2, APPROVES).await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn neither_a_pause_nor_a_question_uses_up_the_time_for_retries(world) {
        let line = Line::new(world).await;
        let mut hasty = step("a", &[]);
        hasty["retry"] = json!({ "maxElapsedSec": 3 });
        let run = line.started(json!([hasty])).await;
        line.process(&run, "a", 1).await;
        line.world.clock.advance(Duration::from_secs(5));
        line.operate(&run, Operation::Pause).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!(state(&view, "a"), NodeState::Pending, "{}", reason(&view, "a"));
        line.world.clock.advance(Duration::from_secs(3_600));
        line.operate(&run, Operation::Resume).await.unwrap();
        fails(&line, &run, "a", 2).await;
        line.says(&run, "a", 3, "{\"status\": \"ask\", \"question\": \"Which one?\"}").await;
        let asked = line.gate(&run, "a").await;
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        line.world.clock.advance(Duration::from_secs(3_600));
        decide(&line, &asked, Decision::Approve, "any", &[]).await;
        fails(&line, &run, "a", 4).await;
        // Its own time is counted as ever.
        line.process(&run, "a", 5).await;
        line.world.clock.advance(Duration::from_secs(3));
        fails(&line, &run, "a", 5).await;
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert!(reason(&view, "a").contains("(its time for retries is over)"), "{}", reason(&view, "a"));
        line.engine.leave().await;
    }

    async fn what_may_be_done_once_and_a_reviewer_cut_off_waits_for_a_person(world) {
        let line = Line::new(world).await;
        let run = line.started(published_once()).await;
        line.says(&run, "draft", 1, "a text").await;
        line.process(&run, "publish", 1).await;
        line.says(&run, "review", 1, REJECTS).await;
        line.says(&run, "draft", 2, "a short text").await;
        line.says(&run, "review", 2, APPROVES).await;
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert_eq!((state(&view, "publish"), attempts(&view, "publish")), (NodeState::Blocked, 1), "nobody did it again");
        assert!(reason(&view, "publish").starts_with("it was cut off"), "{}", reason(&view, "publish"));
        assert_eq!(view.run.last_failure.unwrap()["nodeId"], "publish");
        // A person has looked.
        line.operate(&run, Operation::Recover).await.unwrap();
        line.says(&run, "publish", 2, "published").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((attempts(&view, "draft"), attempts(&view, "review")), (2, 2));
        line.engine.leave().await;
    }

    async fn what_may_be_done_once_is_not_done_twice_for_a_reviewer(world) {
        let line = Line::new(world).await;
        let run = line.started(published_once()).await;
        line.says(&run, "draft", 1, "a text").await;
        line.says(&run, "publish", 1, "published").await;
        line.until(&run, "published", |view| state(view, "publish") == NodeState::Completed).await;
        line.says(&run, "review", 1, REJECTS).await;
        line.says(&run, "draft", 2, "a short text").await;
        line.says(&run, "review", 2, APPROVES).await;
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert_eq!((state(&view, "publish"), attempts(&view, "publish")), (NodeState::Blocked, 1));
        let why = reason(&view, "publish");
        assert!(why.contains("did its work already") && why.ends_with("the reviewer says: shorter"), "{why}");
        retry(&line, &run, "publish").await;
        line.says(&run, "publish", 2, "published anew").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_reviewer_begins_to_count_anew_when_a_person_sends_work_back(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([
            step("draft", &[]), review("review", &["draft"]), gate("ok", &["review"]),
        ])).await;
        for attempt in 1..=5 {
            line.says(&run, "draft", attempt, "a text").await;
            line.says(&run, "review", attempt, REJECTS).await;
        }
        line.says(&run, "draft", 6, "a short text").await;
        line.says(&run, "review", 6, APPROVES).await;
        let asked = line.gate(&run, "ok").await;
        decide(&line, &asked, Decision::Rework, "longer", &["draft"]).await;
        assert_eq!(told(&line, &run, "draft", 7).await["feedback"], "longer");
        for attempt in 7..=12 {
            line.says(&run, "draft", attempt, "a text").await;
            line.says(&run, "review", attempt, REJECTS).await;
        }
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert_eq!(reason(&view, "review"), "sent back 5 times already; the reviewer says: shorter");
        let failure = view.run.last_failure.unwrap();
        assert_eq!((&failure["nodeId"], &failure["attempt"]), (&json!("review"), &json!(12)));
        line.engine.leave().await;
    }

    async fn a_reviewer_that_says_neither_yes_nor_no_is_asked_again(world) {
        let line = Line::new(world).await;
        let mut picky = review("review", &["draft"]);
        // What is repaired, and how often, is no matter of retries.
        picky["retry"] = json!({ "on": ["timeout"] });
        let run = line.started(json!([step("draft", &[]), picky])).await;
        line.says(&run, "draft", 1, "a text").await;
        line.says(&run, "review", 1, "{\"approved\": \"no\", \"feedback\": \"bad\"}").await;
        let second = told(&line, &run, "review", 2).await;
        assert!(second["feedback"].as_str().unwrap().contains("must be true or false"), "{second}");
        line.says(&run, "review", 2, APPROVES).await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.nodes[1].repairs, 1);
        line.engine.leave().await;
    }

    async fn a_command_that_prints_too_much_is_told_so(world) {
        let line = Line::new(world).await;
        line.engine.create_agent(&line.company, World::plain(8), &Actor::local_board()).await.unwrap();
        let mut strict = step("a", &[]);
        strict["agent"] = json!("Plain");
        let mut loose = strict.clone();
        loose["id"] = json!("b");
        strict["output"] = json!({ "schema": { "type": "object" } });
        let run = line.started(json!([strict, loose])).await;
        let prints = async |node: &str, attempt: i64, text: &str| {
            let process = line.process(&run, node, attempt).await;
            line.world.model.print(&process, text);
            line.world.model.exit(&process, 0);
        };
        let fields: Vec<String> = (0..2_000).map(|number| format!("  \"field {number}\": \"of some length\"")).collect();
        prints("a", 1, &format!("{{\n{}\n}}\n", fields.join(",\n"))).await;
        let second = told(&line, &run, "a", 2).await;
        let words = second["feedback"].as_str().unwrap();
        assert!(words.contains("holds no JSON object") && words.contains("longer than 32 KiB and was cut"), "{words}");
        prints("a", 2, "{\"version\": 1}\n").await;
        prints("b", 1, &"a line of words\n".repeat(4_000)).await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        let cut = |at: usize| view.nodes[at].output.as_ref().unwrap()["textIsCut"].clone();
        assert_eq!((cut(0), cut(1)), (Json::Null, json!(true)));
        line.engine.leave().await;
    }

    async fn a_file_of_an_attempt_that_was_sent_back_is_no_output_of_the_next_one(world) {
        let line = Line::new(world).await;
        let folder = line.world.settings().data_dir.join("work");
        std::fs::create_dir_all(&folder).unwrap();
        let mut draft = step("draft", &[]);
        draft["output"] = json!({ "files": ["out.md"] });
        let nodes = json!([draft, review("review", &["draft"])]);
        let automation = line.apply(json!({ "name": "line", "workspace": folder, "nodes": nodes })).await;
        let run = line.launch(&automation).await;
        let writes = async |attempt: i64, text: &str| {
            let process = line.process(&run, "draft", attempt).await;
            std::fs::write(folder.join("out.md"), text).unwrap();
            line.world.model.say(&process, &result("done"));
            line.world.model.exit(&process, 0);
        };
        writes(1, "one").await;
        line.says(&run, "review", 1, REJECTS).await;
        line.says(&run, "draft", 2, "all done, really").await;
        let third = told(&line, &run, "draft", 3).await;
        let words = third["feedback"].as_str().unwrap();
        assert!(words.starts_with("shorter") && words.contains("out.md was there before"), "{words}");
        writes(3, "another one").await;
        line.says(&run, "review", 2, APPROVES).await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((view.nodes[0].repairs, attempts(&view, "draft")), (1, 3));
        line.engine.leave().await;
    }
}
