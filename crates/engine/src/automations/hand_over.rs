//! What follows when a run is over, however it came to that: its questions are taken back, and runs of the automations
//! that begin after it begin. Which ones, and with what, is `domain::automation::hand_over`.

use domain::automation::hand_over::{Over, chain, hand_over};
use domain::automation::{NodeState, TriggerType};
use domain::ids::{AutomationId, AutomationRunId};
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::{Map, Value as Json, json};
use store::automations::{definitions, nodes};
use store::{StoreError, Tx};

use super::draws::Draws;
use super::launch::{self, Launch, Launched, launch};
use super::loaded::Loaded;
use super::telling::{self, Note};
use crate::EngineError;

/// Does all of it, in the transaction in which the run ended. The run's row is written by the caller.
pub(super) async fn over(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    draws: &mut Draws,
    now: Moment,
) -> Result<(), StoreError> {
    it.withdraw_all(tx, "its run is over", now).await?;
    // Nobody is asked any more: if the run begins again, its questions are asked anew.
    for node in it.nodes.iter_mut().filter(|node| node.state == NodeState::AwaitingApproval) {
        node.state = NodeState::Pending;
        nodes::update(tx, node).await?;
    }
    let length = chain(it.run.trigger_detail.as_ref());
    for id in definitions::started_by(tx, &it.run.automation_id).await? {
        let Some(other) = definitions::get(tx, &id).await? else { continue };
        let Some(version) = definitions::version(tx, &id, other.version).await? else { continue };
        let Ok(definition) = launch::read(&version.definition) else { continue };
        let data = it.template_data();
        let of = Over { automation: &it.automation.name, status: it.run.status, chain: length, data: &data };
        for asked in hand_over(&definition, &of) {
            let started = match asked {
                Ok(inputs) => start(tx, it, (&id, inputs), length + 1, draws.draw(), now).await?,
                Err(why) => Err(why),
            };
            let (event, metadata) = match started {
                Ok(run) => ("run_handed_over", json!({ "automation": other.name, "startedRunId": run })),
                Err(why) => ("run_hand_over_refused", json!({ "automation": other.name, "why": why })),
            };
            telling::tell(tx, &mut it.run, Note::run(event).with(metadata), now).await?;
        }
    }
    Ok(())
}

/// Starts a run after this one; what refuses it is in words.
async fn start(
    tx: &mut Tx<'_>,
    it: &Loaded,
    (automation, inputs): (&AutomationId, Map<String, Json>),
    chain: u64,
    random: [u8; 16],
    now: Moment,
) -> Result<Result<AutomationRunId, String>, StoreError> {
    let detail = json!({
        "startedBy": it.started_by(),
        "automationRunId": it.run.id, "automation": it.automation.name, "status": it.run.status, "chain": chain,
    });
    let ask = Launch {
        automation: automation.clone(),
        run_id: AutomationRunId::mint(now, random),
        trigger: TriggerType::After,
        detail: Some(detail),
        inputs,
        // What is told of it before and after counts on: no two hand-overs share a key, and the same one has the same.
        idempotency_key: Some(format!("after:{}:{}", it.run.id, it.run.history_seq)),
        body_hash: String::new(),
        priority: None,
        actor: Actor::system("automation"),
    };
    match launch(tx, ask, now).await {
        Ok(Launched::New(run) | Launched::Again(run)) => Ok(Ok(run.id)),
        Err(EngineError::Store(error)) => Err(error),
        Err(EngineError::Invalid(problems)) => {
            let words: Vec<String> =
                problems.iter().map(|it| format!("{}: {}", it.path, it.message)).collect();
            Ok(Err(words.join("; ")))
        }
        Err(refused) => Ok(Err(refused.to_string())),
    }
}
