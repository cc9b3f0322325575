//! A real agent of the protocol asks before it uses a tool, and a person answers.

use serde_json::json;

use crate::fake_model::FakeModel;
use crate::programs::{Home, Program, as_object};
use crate::stage::{Stage, wait_for};
use crate::table::MADE;

/// Whether the person allows it, and whether the tool was used then.
const CASES: [(&str, bool); 2] = [("approve", true), ("reject", false)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_claude_agent_acp_may_do_is_decided_by_a_person() {
    let Some(installed) = Program::ClaudeAcp.find() else { return };
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    for (verdict, is_made) in CASES {
        model.reset().await;
        let home = Home::make(&installed, stage.place(verdict), model.base());
        let prompt = format!("[fake:bash cmd=\"echo hi > {MADE}\"]");
        let config = json!({
            "command": home.installed.command, "cwd": home.work(), "env": as_object(&home.env()),
            "promptTemplate": prompt, "timeoutSec": 120,
        });
        let agent =
            stage.agent(&json!({ "name": verdict, "adapterType": "acp", "adapterConfig": config })).await;
        let run = stage.wake(&agent, &json!({})).await;
        let approval = wait_for("the agent to ask", || {
            let pending = stage.told(&["approval", "list", "--status", "pending"]);
            pending.as_array().and_then(|pending| pending.first()).cloned()
        });
        assert_eq!(approval["payload"]["input"]["command"], format!("echo hi > {MADE}"), "{approval:#}");
        assert!(!home.work().join(MADE).exists(), "before anybody decided");
        stage.told(&["approval", verdict, approval["id"].as_str().unwrap()]);
        let run = stage.over(&run).await;
        assert_eq!(run["status"], "succeeded", "{verdict}: {run:#}");
        assert_eq!(home.work().join(MADE).exists(), is_made, "{verdict}");
        assert_eq!(home.processes(), Vec::<String>::new());
    }
}
