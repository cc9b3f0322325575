//! Why a run waits, by name: the blockers, the hold, the budget, the run ahead of it, and what to type about it.
//!
//! The server says what ends the wait; this looks at who or what that is now. Whatever cannot be looked at is left out:
//! an explanation never fails for it.

use serde_json::{Value as Json, json};

use super::answer::{counted, number, one_line, rows, rows_at, text};
use super::budget::{amount, raise, scope, window, word};
use super::directory::Directory;
use super::issue_lookup::{hold_on, open_blockers, root_of};
use crate::client::Client;
use crate::when;

/// As many blockers or runs as are named.
const MOST: usize = 10;

/// What holds a run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Held {
    /// One thing a line.
    pub(super) by: Vec<String>,
    /// What a person can type, each with what it does.
    pub(super) settle: Vec<String>,
}

impl Held {
    pub(super) fn to_json(&self) -> Json {
        json!({ "by": self.by, "settle": self.settle })
    }
}

/// A waiting run with what belongs to it.
struct Waiting<'a> {
    client: &'a Client,
    run: Json,
    agent: Json,
    issue: Option<Json>,
}

/// Looks at what holds a run; `None` when nothing does.
pub(super) async fn look(client: &Client, explanation: &Json) -> Option<Held> {
    let reason = text(explanation, "heldReason");
    if reason.is_empty() {
        return None;
    }
    let run = client.get(&format!("/heartbeat-runs/{}", text(explanation, "runId"))).await.ok()?;
    let agent = client.get(&format!("/agents/{}", text(&run, "agentId"))).await.ok()?;
    let context = run.get("contextSnapshot").unwrap_or(&Json::Null);
    let issue = match ["issueId", "taskId"].iter().map(|key| text(context, key)).find(|id| !id.is_empty()) {
        Some(id) => client.get(&format!("/issues/{id}")).await.ok(),
        None => None,
    };
    let waiting = Waiting { client, run, agent, issue };
    Some(match reason {
        "dependency" => waiting.for_blockers().await,
        "hold" => waiting.for_hold().await,
        "budget" => waiting.for_budget().await,
        "paused" => waiting.for_agent().await,
        "running" => waiting.for_same_task().await,
        "slot" => waiting.for_slot().await,
        "capacity" => waiting.for_capacity().await,
        "retry_backoff" => waiting.for_time(),
        // What a provider, a workspace or another machine decides: nothing can be typed about it.
        _ => Held::default(),
    })
}

impl Waiting<'_> {
    fn company(&self) -> &str {
        text(&self.run, "companyId")
    }

    /// The agent as it is typed.
    fn agent(&self) -> String {
        word(text(&self.agent, "urlKey"), text(&self.agent, "id"))
    }

    fn issue(&self) -> &str {
        self.issue.as_ref().map(|issue| text(issue, "identifier")).unwrap_or_default()
    }

    async fn for_blockers(&self) -> Held {
        let Some(issue) = &self.issue else { return Held::default() };
        let directory = Directory::of_agents(self.client, self.company()).await.unwrap_or_default();
        let (name, mut held) = (self.issue(), Held::default());
        for blocker in open_blockers(issue).into_iter().take(MOST) {
            let (id, status) = (text(blocker, "identifier"), text(blocker, "status"));
            let who = match directory.assignee(blocker) {
                who if who.is_empty() => "nobody's".to_owned(),
                who => format!("of {who}"),
            };
            held.by.push(format!("{id} ({status}), {who}: {}", one_line(text(blocker, "title"), 60)));
            held.settle.push(match status {
                "cancelled" => format!("bugle issue update {name} --unblock {id}   (it will never be done)"),
                _ => format!("bugle issue show {id}"),
            });
        }
        held
    }

    async fn for_hold(&self) -> Held {
        let Some(issue) = &self.issue else { return Held::default() };
        let run = text(&self.run, "id");
        let texts = self.client.get(&format!("/heartbeat-runs/{run}/held-texts")).await.unwrap_or_default();
        let waits = rows(&texts).iter().filter(|held| held["decision"].is_null()).count();
        if waits > 0 {
            let texts = counted(i64::try_from(waits).unwrap_or(i64::MAX), "text");
            return Held {
                by: vec![format!("{texts} on {} of somebody who is not trusted", self.issue())],
                settle: vec![format!("bugle run release {run}   (shows what it says first)")],
            };
        }
        let Ok(Some(gate)) = hold_on(self.client, issue).await else { return Held::default() };
        let root = root_of(self.client, &gate).await;
        let reason = match text(&gate, "reason") {
            "" => String::new(),
            reason => format!(": {}", one_line(reason, 100)),
        };
        let below = if root == self.issue() { String::new() } else { format!(", above {}", self.issue()) };
        Held {
            by: vec![format!("the hold on {root}{below}{reason}")],
            settle: vec![format!("bugle issue unhold {root}")],
        }
    }

    async fn for_budget(&self) -> Held {
        let path = format!("/companies/{}/budgets/overview", self.company());
        let Ok(overview) = self.client.get(&path).await else { return Held::default() };
        let project = self.issue.as_ref().map(|issue| text(issue, "projectId")).unwrap_or_default();
        let scopes =
            [("company", self.company()), ("agent", text(&self.run, "agentId")), ("project", project)];
        let mut held = Held::default();
        for policy in tightest(rows_at(&overview, "policies"), &scopes) {
            held.by.push(policy_told(policy));
            held.settle.push(raise(policy));
        }
        let open = rows_at(&overview, "activeIncidents").iter().filter(|incident| {
            text(incident, "thresholdType") == "hard"
                && scopes.contains(&(text(incident, "scopeType"), text(incident, "scopeId")))
        });
        for incident in open {
            let id = super::directory::short(text(incident, "id"));
            held.settle
                .push(format!("bugle budget resolve {id}   (decides the stop: raise it, or keep it paused)"));
        }
        held
    }

    async fn for_agent(&self) -> Held {
        let (name, since) = (text(&self.agent, "name"), when::local(text(&self.agent, "pausedAt")));
        let reason = match text(&self.agent, "pauseReason") {
            "" => "somebody".to_owned(),
            reason => reason.to_owned(),
        };
        let by = format!("{} is paused ({reason}) since {since}", one_line(name, 40));
        Held { by: vec![by], settle: vec![format!("bugle agent resume {}", self.agent())] }
    }

    /// The run that has the issue, else the one of the same agent that this one follows.
    async fn for_same_task(&self) -> Held {
        let mut held = Held::default();
        if let Some(issue) = &self.issue {
            let path = format!("/issues/{}/active-run", text(issue, "id"));
            let active = self.client.get(&path).await.unwrap_or(Json::Null);
            if active.is_object() && text(&active, "id") != text(&self.run, "id") {
                let id = text(&active, "id");
                let who = one_line(text(&active, "agentName"), 40);
                held.by.push(format!("run {id} of {who} works on {}", self.issue()));
                held.settle.push(format!("bugle logs {id} -f"));
                return held;
            }
        }
        let key = text(&self.run, "taskKey");
        for run in self.running().await {
            if text(&run, "taskKey") == key {
                held.by.push(format!("run {} of the same task", text(&run, "id")));
                held.settle.push(format!("bugle logs {} -f", text(&run, "id")));
            }
        }
        held
    }

    async fn for_slot(&self) -> Held {
        let running = self.running().await;
        let slots = self.agent.pointer("/runtimeConfig/heartbeat/maxConcurrentRuns").and_then(Json::as_i64);
        let by = running
            .iter()
            .take(MOST)
            .map(|run| format!("run {}, since {}", text(run, "id"), when::local(text(run, "startedAt"))));
        let more = format!("bugle agent set {} --max-concurrent {}", self.agent(), slots.unwrap_or(1) + 1);
        let more = if slots.is_some_and(|slots| slots < 10) { vec![more] } else { Vec::new() };
        Held { by: by.collect(), settle: more }
    }

    async fn for_capacity(&self) -> Held {
        let health = self.client.get("/health").await.unwrap_or(Json::Null);
        let count = |path: &str| health.pointer(path).and_then(Json::as_i64);
        let by = match (count("/capacity/running"), count("/capacity/slots")) {
            (Some(running), Some(slots)) => vec![format!("{running} of {slots} runs of this server")],
            _ => Vec::new(),
        };
        Held {
            by,
            settle: vec!["bugle run list --status running".to_owned(), "bugle up --max-runs N".to_owned()],
        }
    }

    fn for_time(&self) -> Held {
        let at = text(&self.run, "scheduledRetryAt");
        if at.is_empty() {
            return Held::default();
        }
        let reason = match text(&self.run, "scheduledRetryReason") {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        Held { by: vec![format!("its retry at {}{reason}", when::local(at))], settle: Vec::new() }
    }

    /// The runs of the same agent that are running.
    async fn running(&self) -> Vec<Json> {
        let path = format!(
            "/companies/{}/heartbeat-runs?limit=20&status=running&agentId={}",
            self.company(),
            text(&self.run, "agentId")
        );
        rows(&self.client.get(&path).await.unwrap_or(Json::Null)).to_vec()
    }
}

/// The policies that hold a run of these scopes: those that are used up or paused it; where none is (what is left does
/// not cover a message), the one with the least left of its amount.
fn tightest<'a>(policies: &'a [Json], scopes: &[(&str, &str)]) -> Vec<&'a Json> {
    let ours: Vec<&Json> = policies
        .iter()
        .filter(|policy| policy["isActive"] != false && number(policy, "amount") > 0)
        .filter(|policy| scopes.contains(&(text(policy, "scopeType"), text(policy, "scopeId"))))
        .collect();
    let stopped: Vec<&Json> = ours
        .iter()
        .copied()
        .filter(|policy| text(policy, "status") == "hard_stop" || policy["paused"] == true)
        .collect();
    if !stopped.is_empty() {
        return stopped;
    }
    let used = |policy: &Json| {
        let of = number(policy, "amount").max(1) as f64;
        (number(policy, "observedAmount") + number(policy, "reservedAmount")) as f64 / of
    };
    ours.into_iter().max_by(|one, other| used(one).total_cmp(&used(other))).into_iter().collect()
}

fn policy_told(policy: &Json) -> String {
    let metric = text(policy, "metric");
    let reserved = match number(policy, "reservedAmount") {
        0 => String::new(),
        reserved => format!(" and {} reserved by what runs", amount(metric, reserved)),
    };
    format!(
        "the budget of {}: {} of {} ({}) spent{reserved}, policy {}",
        scope(policy),
        amount(metric, number(policy, "observedAmount")),
        amount(metric, number(policy, "amount")),
        window(text(policy, "windowKind")),
        text(policy, "policyId")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(id: &str, scope: &str, amount: i64, observed: i64, status: &str) -> Json {
        json!({"policyId": id, "scopeType": "agent", "scopeId": scope, "scopeName": "ada", "metric": "tokens",
            "windowKind": "lifetime", "amount": amount, "observedAmount": observed, "reservedAmount": 0,
            "isActive": true, "paused": false, "status": status})
    }

    #[test]
    fn the_policy_that_holds_is_the_one_used_up_else_the_tightest() {
        let scopes = [("company", "c"), ("agent", "a"), ("project", "")];
        let names = |policies: &[Json]| {
            tightest(policies, &scopes).iter().map(|it| text(it, "policyId").to_owned()).collect::<Vec<_>>()
        };
        let (foreign, free) = (policy("1", "b", 10, 10, "hard_stop"), policy("2", "a", 0, 10, "ok"));
        let (half, most) = (policy("3", "a", 10, 5, "ok"), policy("4", "a", 100, 90, "warning"));
        let up = policy("5", "a", 10, 10, "hard_stop");
        assert_eq!(names(&[foreign.clone(), free.clone(), half.clone(), most.clone()]), ["4"]);
        assert_eq!(names(&[half, up, most]), ["5"]);
        assert_eq!(names(&[foreign, free]), Vec::<String>::new());
    }

    #[test]
    fn a_policy_is_told_with_its_id() {
        let told = policy_told(&policy("P", "a", 10, 9, "warning"));
        assert_eq!(told, "the budget of agent ada: 9 tokens of 10 tokens (lifetime) spent, policy P");
    }
}
