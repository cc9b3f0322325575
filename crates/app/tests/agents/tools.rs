//! Bugle's tools in the hands of real programs: each is told of them by its adapter, and finishes its task with one.

use serde_json::json;

use crate::fake_model::FakeModel;
use crate::programs::{Home, Program, as_object};
use crate::stage::{Stage, is_final};

/// Programs that are told by an argument or a variable, what they need besides, and what they call the tool.
const TOLD: [(Program, &str); 4] = [
    (Program::ClaudeOld, "mcp__bugle__finish"),
    (Program::ClaudeNew, "mcp__bugle__finish"),
    (Program::OpenCode, "bugle_finish"),
    (Program::Qwen, "mcp__bugle__finish"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_told_of_the_tools_finishes_its_task_with_one() {
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let company = stage.company().await;
    for (program, tool) in TOLD {
        let Some(installed) = program.find() else { continue };
        model.reset().await;
        let home = Home::make(&installed, stage.place(&format!("tools-{program:?}")), model.base());
        let (kind, mut config) = program.adapter();
        let arguments = json!({ "outcome": "done", "comment": "All is said." });
        let prompt = format!("[fake:tool tool={tool} args='{arguments}' say=\"It is finished.\"]");
        let common = json!({
            "command": home.installed.command, "cwd": home.work(), "env": as_object(&home.env()),
            "promptTemplate": prompt, "timeoutSec": 120, "graceSec": 5, "mcp": true,
        });
        if let (Some(config), Some(common)) = (config.as_object_mut(), common.as_object()) {
            config.extend(common.clone());
        }
        let body = json!({ "name": format!("{program:?}"), "adapterType": kind, "adapterConfig": config });
        let agent = stage.agent(&body).await;
        let issue = json!({ "title": "Say it", "status": "todo", "assigneeAgentId": agent });
        let issue = stage.post(&format!("/companies/{company}/issues"), &issue).await;
        let id = issue["id"].as_str().unwrap();
        let run = loop {
            let runs = stage.get(&format!("/issues/{id}/runs")).await;
            match runs.as_array().unwrap().iter().find(|run| is_final(&run["status"])) {
                Some(run) => break run["runId"].as_str().unwrap().to_owned(),
                None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        };
        let said = async || {
            let run = stage.run(&run).await;
            format!("{program:?}: {run:#}\n{}", stage.output(run["id"].as_str().unwrap(), "stdout").await)
        };
        let found = stage.get(&format!("/issues/{id}")).await;
        assert_eq!(found["status"], "done", "{}", said().await);
        let comments = stage.get(&format!("/issues/{id}/comments")).await;
        let comment = comments.as_array().unwrap().iter().find(|one| one["body"] == "All is said.").unwrap();
        assert_eq!((&comment["authorAgentId"], &comment["createdByRunId"]), (&json!(agent), &json!(run)));
        // What the run was started with holds no key where others could read it.
        let events = stage.get(&format!("/heartbeat-runs/{run}/events")).await.to_string();
        assert!(events.contains("mcp") && !events.contains("bugle_run_"), "{events}");
        println!("{program:?}: well");
    }
}
