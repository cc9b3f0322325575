//! Automations as rows: definitions, runs with their nodes and attempts, gates, history; and what is over and old gone
//! with everything in it.

use std::collections::HashSet;

use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::automation::{
    AttemptState, AutomationRunStatus, AutomationStatus, Guardrail, NodeState, StopKind, TriggerType,
};
use domain::hold::HeldReason;
use domain::ids::{AutomationId, AutomationRunId, RunId};
use domain::moment::Moment;
use domain::wake::ActorKind;
use serde_json::json;
use store::automations::definitions::{self, Automation, Version};
use store::automations::gates::{self, GateRow};
use store::automations::history::{self, Entry};
use store::automations::nodes::{self, Attempt, NodeRow};
use store::automations::retention;
use store::automations::runs::{self, AutomationRun, QueuedRun};
use store::companies::{self, Company};
use store::{Rule, Store, StoreError, Tx};

use crate::both_stores;
use crate::issue_fixture::{self, at, company, set_up, write};
use crate::schedules::{automation, run};

/// Before everything.
const START: Moment = Moment::from_micros(i64::MIN);
/// Behind everything.
const END: (Moment, &str) = (Moment::from_micros(i64::MAX), "~");

fn version(of: &str, number: i64) -> Version {
    Version {
        automation_id: of.into(),
        version: number,
        hash: format!("hash {number}"),
        definition: json!({ "name": of, "nodes": [{ "id": "a", "objective": number }] }),
        created_by: Some("u1".into()),
        created_at: at(number),
    }
}

fn queued(id: &str, seconds: i64) -> AutomationRun {
    AutomationRun {
        created_at: at(seconds),
        queued_at: at(seconds),
        ..run(id, "notes", AutomationRunStatus::Queued)
    }
}

/// A run that came to its end so many seconds after noon.
fn over(id: &str, seconds: i64) -> AutomationRun {
    AutomationRun { finished_at: Some(at(seconds)), ..run(id, "notes", AutomationRunStatus::Completed) }
}

/// A run that was started when another one ended.
fn after(id: &str, before: &str, seconds: i64) -> AutomationRun {
    AutomationRun {
        trigger_type: TriggerType::After,
        trigger_detail: Some(json!({ "automationRunId": before, "chain": 1 })),
        ..over(id, seconds)
    }
}

fn node(run: &str, id: &str, place: i64) -> NodeRow {
    NodeRow {
        run_id: run.into(),
        node_id: id.into(),
        place,
        state: NodeState::Pending,
        attempt: 0,
        attempts: 0,
        repairs: 0,
        lost: 0,
        reworks: 0,
        since: None,
        retry_at: None,
        output: None,
        reason: None,
        feedback: None,
        started_at: None,
        finished_at: None,
    }
}

fn attempt(run: &str, node: &str, number: i64, seconds: i64) -> Attempt {
    Attempt {
        run_id: run.into(),
        node_id: node.into(),
        attempt: number,
        company_id: company(),
        epoch: 1,
        agent_id: "ada".into(),
        agent_run_id: None,
        state: AttemptState::Ordered,
        counts: true,
        objective: format!("do {node}"),
        ordered_at: at(seconds),
        deliver_at: at(seconds),
        held_reason: None,
        started_at: None,
        ended_at: None,
        stopped: None,
        stop_asked_at: None,
        record: None,
        tokens: 0,
        cost_micros: 0,
        names_before: None,
    }
}

fn gate(id: &str, run: &str, node: &str, seconds: i64) -> GateRow {
    GateRow {
        id: id.into(),
        company_id: company(),
        run_id: run.into(),
        node_id: node.into(),
        status: GateStatus::Pending,
        title: "may it go on?".into(),
        instructions: Some("look at it".into()),
        shown: json!({ "title": "may it go on?" }),
        hash: "h1".into(),
        decisions: json!(["approve", "rework", "cancel"]),
        rework_targets: json!(["a"]),
        approvers: json!([]),
        self_approval: true,
        started_by: Some("u1".into()),
        expiry: Some(json!({ "expiresAfterSec": 60 })),
        asked_at: at(seconds),
        expires_at: Some(at(seconds + 60)),
        next_at: Some(at(seconds + 60)),
        reminded_at: None,
        reminders: 0,
        reminded_late: false,
        escalated_at: None,
        escalated_to: None,
        stale_at: None,
        decision: None,
        reason: None,
        targets: None,
        decided_at: None,
        decided_by_kind: None,
        decided_by: None,
    }
}

fn approved(gate: &GateRow) -> GateRow {
    GateRow {
        status: GateStatus::Decided,
        next_at: None,
        decision: Some(Decision::Approve),
        reason: Some("good".into()),
        decided_at: Some(at(99)),
        decided_by_kind: Some(ActorKind::User),
        decided_by: Some("u1".into()),
        ..gate.clone()
    }
}

fn entry(run: &str, seq: i64) -> Entry {
    Entry {
        run_id: run.into(),
        seq,
        at: at(seq),
        event: "node_started".into(),
        node_id: Some("a".into()),
        reason: None,
        stop_kind: (seq == 2).then_some(StopKind::OperatorStopped),
        metadata: Some(json!({ "attempt": seq })),
    }
}

/// Beside `acme` with its automations `notes` and `build`, a company `other` with one called `notes`, too.
async fn with(store: &Store, made: Vec<AutomationRun>) {
    set_up(store).await;
    write(store, move |tx| {
        let made = made.clone();
        Box::pin(async move {
            let other = Company {
                id: "other".into(),
                name: "Other".into(),
                description: None,
                status: "active".into(),
                issue_prefix: "OTH".into(),
                issue_counter: 0,
                budget_monthly_cents: 0,
                require_approval: false,
                brand_color: None,
                created_at: at(0),
                updated_at: at(0),
            };
            assert!(companies::insert(tx, &other).await?);
            for id in ["notes", "build"] {
                assert!(definitions::insert(tx, &automation(id)).await?);
            }
            let theirs =
                Automation { company_id: "other".into(), name: "notes".into(), ..automation("theirs") };
            assert!(definitions::insert(tx, &theirs).await?);
            add(tx, &made).await
        })
    })
    .await;
}

async fn add(tx: &mut Tx<'_>, made: &[AutomationRun]) -> Result<(), StoreError> {
    for one in made {
        assert!(runs::insert(tx, one).await?, "{}", one.id);
    }
    Ok(())
}

/// A run of the company `other`.
fn theirs(id: &str) -> AutomationRun {
    AutomationRun { company_id: "other".into(), ..run(id, "theirs", AutomationRunStatus::Queued) }
}

fn ids(found: &[AutomationRun]) -> Vec<&str> {
    found.iter().map(|run| run.id.as_str()).collect()
}

pub(crate) fn texts(found: &[AutomationRunId]) -> Vec<&str> {
    found.iter().map(AutomationRunId::as_str).collect()
}

both_stores! {
    async fn a_definition_keeps_its_name_in_its_company_until_it_is_removed(store: Store) {
        with(&store, vec![]).await;
        let paused = Automation {
            status: AutomationStatus::Paused, paused_reason: Some("later".into()), version: 3, updated_at: at(7),
            ..automation("notes")
        };
        let wanted = paused.clone();
        let (again, found, locked, named) = write(&store, move |tx| { let paused = paused.clone(); Box::pin(async move {
            let twin = Automation { name: "notes".into(), ..automation("twin") };
            let again = definitions::insert(tx, &twin).await?;
            definitions::update(tx, &paused).await?;
            Ok((
                again,
                definitions::get(tx, &"notes".into()).await?,
                definitions::lock(tx, &"notes".into()).await?,
                definitions::lock_named(tx, &company(), "notes").await?,
            ))
        })}).await;
        assert!(!again);
        assert_eq!([found, locked, named], [Some(wanted.clone()), Some(wanted.clone()), Some(wanted)]);
        let (free, kept, live, theirs) = write(&store, |tx| Box::pin(async move {
            let gone = Automation { removed_at: Some(at(9)), ..automation("notes") };
            definitions::update(tx, &gone).await?;
            let twin = Automation { name: "notes".into(), ..automation("twin") };
            Ok((
                definitions::insert(tx, &twin).await?,
                definitions::get(tx, &"notes".into()).await?.and_then(|it| it.removed_at),
                definitions::named(tx, &company(), "notes").await?.map(|it| it.id),
                definitions::named(tx, &"other".into(), "notes").await?.map(|it| it.id),
            ))
        })).await;
        assert!(free, "the name is free again");
        assert_eq!((kept, live, theirs), (Some(at(9)), Some("twin".into()), Some("theirs".into())));
    }

    async fn definitions_are_listed_by_name_and_by_pages_in_their_company(store: Store) {
        with(&store, vec![]).await;
        let (first, rest, of_other) = write(&store, |tx| Box::pin(async move {
            let gone = Automation { removed_at: Some(at(1)), ..automation("gone") };
            definitions::insert(tx, &gone).await?;
            definitions::insert(tx, &automation("zoo")).await?;
            Ok((
                definitions::list(tx, &company(), "", 2).await?,
                definitions::list(tx, &company(), "notes", 2).await?,
                definitions::list(tx, &"other".into(), "", 9).await?,
            ))
        })).await;
        let names = |list: &[Automation]| list.iter().map(|it| it.id.0.clone()).collect::<Vec<_>>();
        assert_eq!((names(&first), names(&rest), names(&of_other)), (
            vec!["build".into(), "notes".into()], vec!["zoo".into()], vec!["theirs".into()],
        ));
    }

    async fn versions_are_written_once_and_come_newest_first(store: Store) {
        with(&store, vec![]).await;
        let (page, rest, one, none) = write(&store, |tx| Box::pin(async move {
            for number in 1..=3 {
                definitions::add_version(tx, &version("notes", number)).await?;
            }
            definitions::add_version(tx, &version("build", 1)).await?;
            Ok((
                definitions::versions(tx, &"notes".into(), i64::MAX, 2).await?,
                definitions::versions(tx, &"notes".into(), 2, 2).await?,
                definitions::version(tx, &"notes".into(), 2).await?,
                definitions::version(tx, &"build".into(), 2).await?,
            ))
        })).await;
        assert_eq!(page, [version("notes", 3), version("notes", 2)]);
        assert_eq!((rest, one, none), (vec![version("notes", 1)], Some(version("notes", 2)), None));
        let twice = store.write(|tx| Box::pin(async move { definitions::add_version(tx, &version("notes", 3)).await }));
        assert!(matches!(twice.await, Err(StoreError::Constraint { rule: Rule::Unique, .. })));
    }

    async fn runs_of_an_automation_are_numbered_and_what_begins_after_it_is_known(store: Store) {
        with(&store, vec![]).await;
        let (numbers, first, then) = write(&store, |tx| Box::pin(async move {
            let mut numbers = Vec::new();
            for id in ["notes", "notes", "build", "nobody"] {
                numbers.push(definitions::draw_number(tx, &id.into()).await?);
            }
            // Twice after the same one: it is one automation that begins.
            definitions::set_after(tx, &"build".into(), &["notes".into(), "theirs".into(), "notes".into()]).await?;
            definitions::set_after(tx, &"theirs".into(), &["notes".into()]).await?;
            let first = definitions::started_by(tx, &"notes".into()).await?;
            definitions::set_after(tx, &"build".into(), &["theirs".into()]).await?;
            Ok((numbers, first, definitions::started_by(tx, &"notes".into()).await?))
        })).await;
        assert_eq!(numbers, [1, 2, 1, 0]);
        assert_eq!((first, then), (vec!["build".into(), "theirs".into()], vec![AutomationId::from("theirs")]));
    }

    async fn one_key_of_an_automation_stands_for_one_run(store: Store) {
        with(&store, vec![]).await;
        let keyed = |id: &str, automation: &str| AutomationRun {
            idempotency_key: Some("key".into()), body_hash: Some("body".into()), ..run(id, automation, AutomationRunStatus::Queued)
        };
        let made = [keyed("r1", "notes"), keyed("r2", "notes"), keyed("r3", "build"), queued("r4", 0), queued("r5", 0)];
        let (added, found, none) = write(&store, move |tx| { let made = made.clone(); Box::pin(async move {
            let mut added = Vec::new();
            for one in &made {
                added.push(runs::insert(tx, one).await?);
            }
            let found = runs::by_key(tx, &"notes".into(), "key").await?;
            Ok((added, found, runs::by_key(tx, &"notes".into(), "another").await?))
        })}).await;
        assert_eq!(added, [true, false, true, true, true], "without a key they are all runs");
        assert_eq!((found, none), (Some(keyed("r1", "notes")), None));
    }

    async fn a_run_comes_back_as_it_stood(store: Store) {
        let made = AutomationRun {
            version: 2,
            number: 7,
            trigger_type: TriggerType::Webhook,
            trigger_detail: Some(json!({ "receiptId": "x" })),
            inputs: json!({ "since": "v1" }),
            idempotency_key: Some("key".into()),
            body_hash: Some("body".into()),
            actor_kind: ActorKind::User,
            actor_id: Some("u1".into()),
            ..queued("r1", 5)
        };
        with(&store, vec![made.clone()]).await;
        let changed = AutomationRun {
            own_definition: Some(json!({ "nodes": [] })),
            status: AutomationRunStatus::Pausing,
            priority: 1,
            updated_at: at(20),
            queued_at: at(21),
            started_at: Some(at(22)),
            finished_at: Some(at(23)),
            epoch: 3,
            server_node: Some("node-1".into()),
            root: Some("/srv/site".into()),
            held_reason: Some(HeldReason::WorkspaceLock),
            held_resource: Some("/srv".into()),
            held_until: Some(at(24)),
            not_before: Some(at(25)),
            stop_to: Some(AutomationRunStatus::Paused),
            stop_asked_at: Some(at(26)),
            stop_drains: true,
            stop_kind: Some(StopKind::GuardrailStopped),
            stop_reason: Some("too dear".into()),
            guardrail: Some(Guardrail::RunLimit),
            stopped_at: Some(at(27)),
            worked_micros: 28,
            working_since: Some(at(29)),
            tokens: 30,
            cost_micros: 31,
            limits: Some(json!({ "maxTokens": 32 })),
            last_failure: Some(json!({ "nodeId": "a" })),
            detail: Some("said".into()),
            resumes: 2,
            history_seq: 33,
            look_at: Some(at(34)),
            ..made.clone()
        };
        let wanted = changed.clone();
        let (before, after, locked, none) = write(&store, move |tx| { let changed = changed.clone(); Box::pin(async move {
            let before = runs::get(tx, &"r1".into()).await?;
            runs::update(tx, &changed).await?;
            Ok((before, runs::get(tx, &"r1".into()).await?, runs::lock(tx, &"r1".into()).await?, runs::get(tx, &"r2".into()).await?))
        })}).await;
        assert_eq!(before, Some(made));
        assert_eq!((after, locked, none), (Some(wanted.clone()), Some(wanted), None));
    }

    async fn runs_are_listed_newest_first_by_pages_in_their_company(store: Store) {
        let build = AutomationRun { automation_id: "build".into(), ..queued("r3", 3) };
        with(&store, vec![queued("r1", 1), queued("r2", 2), build, queued("r2b", 2), theirs("x")]).await;
        let (page, rest, of_one, of_other) = store.read(|tx| Box::pin(async move {
            Ok((
                runs::of_company(tx, &company(), END, 2).await?,
                runs::of_company(tx, &company(), (at(2), "r2b"), 9).await?,
                runs::of_automation(tx, &"notes".into(), END, 2).await?,
                runs::of_company(tx, &"other".into(), END, 9).await?,
            ))
        })).await.unwrap();
        assert_eq!((ids(&page), ids(&rest)), (vec!["r3", "r2b"], vec!["r2", "r1"]));
        assert_eq!((ids(&of_one), ids(&of_other)), (vec!["r2b", "r2"], vec!["x"]));
        let last = store.read(|tx| Box::pin(async move { runs::of_automation(tx, &"notes".into(), (at(2), "r2"), 9).await }));
        assert_eq!(ids(&last.await.unwrap()), ["r1"]);
    }

    async fn what_cannot_begin_whatever_is_free_is_not_in_the_queue(store: Store) {
        let backs_off = |id: &str, until| AutomationRun {
            not_before: Some(at(until)), held_reason: Some(HeldReason::RetryBackoff), ..queued(id, 1)
        };
        // On record only when it was looked at once: what it waits for is told to people.
        let unseen = AutomationRun { not_before: Some(at(80)), ..queued("unseen", 2) };
        let paused = AutomationRun { held_reason: Some(HeldReason::Paused), ..queued("paused", 3) };
        // One that waits for an agent names it: the agent may be let work before its automation is.
        let ada = AutomationRun {
            held_reason: Some(HeldReason::Paused), held_resource: Some("agent Ada".into()), ..queued("ada", 5)
        };
        with(&store, vec![backs_off("later", 70), backs_off("now", 60), unseen, paused, queued("free", 4), ada]).await;
        let look = async || {
            let (found, next) = store.read(|tx| Box::pin(async move {
                Ok((runs::queued(tx, (i64::MIN, START, ""), at(60), 9).await?, runs::next_not_before(tx, at(60)).await?))
            })).await.unwrap();
            (found.into_iter().map(|run| run.id.0).collect::<Vec<_>>().join(" "), next)
        };
        assert_eq!(look().await, ("now unseen paused free ada".to_owned(), Some(at(70))));
        write(&store, |tx| Box::pin(async move {
            let mut notes = definitions::lock(tx, &"notes".into()).await?.expect("it is there");
            notes.status = AutomationStatus::Paused;
            definitions::update(tx, &notes).await
        })).await;
        assert_eq!(look().await.0, "now unseen free ada", "it is on record why it waits, and stays so");
    }

    async fn what_waits_begins_by_priority_and_then_as_it_came(store: Store) {
        let urgent = AutomationRun { priority: 0, ..queued("r9", 9) };
        let working = AutomationRun {
            status: AutomationRunStatus::Running, root: Some("/srv".into()), server_node: Some("n1".into()), ..queued("w", 1)
        };
        let pausing = AutomationRun { status: AutomationRunStatus::Pausing, ..queued("p", 1) };
        with(&store, vec![queued("r2", 2), urgent, queued("r1", 1), queued("r1b", 1), working, pausing, over("o", 9)]).await;
        let (first, rest, at_work, open, counts, of_all) = write(&store, |tx| Box::pin(async move {
            runs::hold(tx, &"r2".into(), Some(HeldReason::Capacity), Some("8"), Some(at(50))).await?;
            // What no longer waits is not held.
            runs::hold(tx, &"w".into(), Some(HeldReason::Capacity), None, None).await?;
            Ok((
                runs::queued(tx, (i64::MIN, START, ""), at(60), 2).await?,
                runs::queued(tx, (2, at(1), "r1"), at(60), 9).await?,
                runs::at_work(tx).await?,
                runs::open_of(tx, &"notes".into(), "p", 3).await?,
                runs::count_open(tx, &"notes".into()).await?,
                runs::count_unfinished(tx).await?,
            ))
        })).await;
        let of = |runs: &[QueuedRun]| texts(&runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>()).join(" ");
        assert_eq!((of(&first), of(&rest)), ("r9 r1".to_owned(), "r1b r2".to_owned()));
        assert_eq!((rest[1].held_reason, rest[1].held_until), (Some(HeldReason::Capacity), Some(at(50))));
        let at_work: Vec<_> = at_work.into_iter().map(|run| (run.id, run.root, run.server_node)).collect();
        assert_eq!(at_work, [("p".into(), None, None), ("w".into(), Some("/srv".into()), Some("n1".into()))]);
        assert_eq!(texts(&open), ["r1", "r1b", "r2"]);
        assert_eq!(counts, [
            (AutomationRunStatus::Pausing, 1), (AutomationRunStatus::Queued, 4), (AutomationRunStatus::Running, 1),
        ]);
        let (held, waits): (Vec<_>, Vec<_>) =
            of_all.into_iter().partition(|(status, held, _)| held.is_some() || *status != AutomationRunStatus::Queued);
        assert_eq!(waits, [(AutomationRunStatus::Queued, None, 3)]);
        assert_eq!(held, [
            (AutomationRunStatus::Pausing, None, 1), (AutomationRunStatus::Queued, Some(HeldReason::Capacity), 1),
            (AutomationRunStatus::Running, None, 1),
        ]);
        let held = store.read(|tx| Box::pin(async move { runs::get(tx, &"w".into()).await })).await.unwrap().unwrap();
        assert_eq!(held.held_reason, None);
    }

    async fn a_look_comes_as_soon_as_somebody_wants_it_and_never_at_what_is_over(store: Store) {
        let working = |id: &str, look: Option<i64>| AutomationRun {
            status: AutomationRunStatus::Running, look_at: look.map(at), ..queued(id, 1)
        };
        with(&store, vec![working("r1", Some(50)), working("r2", None), working("r3", Some(10)), over("o", 9), queued("q", 1)]).await;
        let (due, next, moved) = write(&store, |tx| Box::pin(async move {
            let due = runs::due(tx, at(50), 9).await?;
            for id in ["r1", "r2", "r3", "o", "q"] {
                runs::look_by(tx, &id.into(), at(20)).await?;
            }
            Ok((due, runs::next_due(tx).await?, runs::due(tx, at(50), 2).await?))
        })).await;
        assert_eq!((texts(&due), next), (vec!["r3", "r1"], Some(at(10))));
        assert_eq!(texts(&moved), ["r3", "r1"], "earlier, and the same page of what is due");
        let all = store.read(|tx| Box::pin(async move { runs::due(tx, at(50), 9).await })).await.unwrap();
        assert_eq!(texts(&all), ["r3", "r1", "r2"]);
    }

    async fn a_status_is_told_once_by_the_server_that_let_the_run_begin(store: Store) {
        let of = |id: &str, node: Option<&str>| AutomationRun {
            history_seq: 3, told_seq: 1, server_node: node.map(str::to_owned), ..queued(id, 1)
        };
        with(&store, vec![of("r1", Some("n1")), of("r2", Some("n2")), of("r3", None), over("o", 1)]).await;
        let (first, page, then) = write(&store, |tx| Box::pin(async move {
            let first = runs::untold(tx, "n1", 9).await?;
            let page = runs::untold(tx, "n1", 1).await?;
            runs::told(tx, &"r1".into(), 3).await?;
            runs::told(tx, &"r3".into(), 2).await?;
            // Nobody unsays what was told.
            runs::told(tx, &"r1".into(), 1).await?;
            Ok((first, page, runs::untold(tx, "n1", 9).await?))
        })).await;
        assert_eq!((texts(&first), texts(&page), texts(&then)), (vec!["r1", "r3"], vec!["r1"], vec!["r3"]));
    }

    async fn nodes_come_in_the_order_of_their_definition(store: Store) {
        with(&store, vec![queued("r1", 1), queued("r2", 1)]).await;
        let done = NodeRow {
            state: NodeState::Completed,
            attempt: 4,
            attempts: 1,
            repairs: 2,
            lost: 1,
            reworks: 1,
            since: Some(at(1)),
            retry_at: Some(at(2)),
            output: Some(json!({ "status": "completed", "text": "done" })),
            reason: Some("because".into()),
            feedback: Some("shorter".into()),
            started_at: Some(at(3)),
            finished_at: Some(at(4)),
            ..node("r1", "z", 0)
        };
        let written = done.clone();
        let (found, others) = write(&store, move |tx| { let done = written.clone(); Box::pin(async move {
            for one in [node("r1", "a", 1), node("r1", "z", 0), node("r2", "a", 0)] {
                nodes::insert(tx, &one).await?;
            }
            nodes::update(tx, &done).await?;
            Ok((nodes::of_run(tx, &"r1".into()).await?, nodes::of_run(tx, &"r2".into()).await?))
        })}).await;
        assert_eq!(found, [done, node("r1", "a", 1)]);
        assert_eq!(others, [node("r2", "a", 0)]);
    }

    async fn an_attempt_is_ordered_once_woken_in_its_turn_and_ended(store: Store) {
        with(&store, vec![queued("r1", 1), queued("r2", 1)]).await;
        let (due, next, forward, live) = write(&store, |tx| Box::pin(async move {
            let later = Attempt { deliver_at: at(30), ..attempt("r2", "a", 1, 2) };
            for one in [&attempt("r1", "a", 1, 5), &attempt("r1", "b", 1, 1), &later] {
                nodes::insert_attempt(tx, one).await?;
            }
            let running = Attempt {
                state: AttemptState::Running, agent_run_id: Some("run1".into()), started_at: Some(at(6)), ..attempt("r1", "b", 1, 1)
            };
            nodes::update_attempt(tx, &running).await?;
            let due = nodes::ordered(tx, at(10), 9).await?;
            nodes::bring_forward(tx, at(3)).await?;
            let next = nodes::ordered(tx, at(29), 9).await?.len();
            nodes::update_attempt(tx, &Attempt { held_reason: Some(HeldReason::Paused), ..later }).await?;
            nodes::bring_forward(tx, at(3)).await?;
            let forward = nodes::next_ordered(tx).await?;
            Ok((due, next, forward, nodes::live(tx, &"r1".into()).await?))
        })).await;
        assert_eq!(due, [attempt("r1", "a", 1, 5)]);
        assert_eq!((next, forward), (1, Some(at(3))), "what nothing keeps comes in its own time");
        assert_eq!(live.iter().map(|it| it.node_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let (locked, left, all) = write(&store, |tx| Box::pin(async move {
            // Only what is under way is carried on.
            assert!(!nodes::carry_on(tx, (&"r1".into(), "a", 1), &"run9".into(), (2, 3)).await?);
            assert!(nodes::carry_on(tx, (&"r1".into(), "b", 1), &"run2".into(), (2, 3)).await?);
            let locked = nodes::lock_attempt(tx, &"r1".into(), "b", 1).await?.unwrap();
            assert_eq!((locked.tokens, locked.cost_micros), (2, 3));
            let ended = Attempt {
                state: AttemptState::Ended, ended_at: Some(at(9)), counts: false, stopped: Some("timeout".into()),
                stop_asked_at: Some(at(8)), record: Some(json!({ "outcome": "failed" })), tokens: 5, cost_micros: 6,
                held_reason: Some(HeldReason::Paused), ..locked.clone()
            };
            nodes::update_attempt(tx, &ended).await?;
            assert_eq!(nodes::lock_attempt(tx, &"r1".into(), "b", 1).await?, Some(ended));
            let left = nodes::live(tx, &"r1".into()).await?;
            Ok((locked, left.len(), nodes::attempts(tx, &"r1".into(), 1).await?))
        })).await;
        assert_eq!((locked.agent_run_id, left), (Some(RunId("run2".into())), 1));
        assert_eq!(all.iter().map(|it| it.node_id.as_str()).collect::<Vec<_>>(), ["a"], "the newest");
        let twice = store.write(|tx| Box::pin(async move { nodes::insert_attempt(tx, &attempt("r1", "a", 1, 7)).await }));
        assert!(matches!(twice.await, Err(StoreError::Constraint { rule: Rule::Unique, .. })));
        let odd = Attempt { stopped: Some("tired".into()), ..attempt("r1", "c", 1, 1) };
        let odd = store.write(move |tx| { let odd = odd.clone(); Box::pin(async move { nodes::insert_attempt(tx, &odd).await }) });
        assert!(matches!(odd.await, Err(StoreError::Constraint { rule: Rule::Check, .. })));
    }

    async fn a_gate_is_asked_once_and_decided_once(store: Store) {
        with(&store, vec![queued("r1", 1), queued("r2", 1)]).await;
        let (found, decided, shown) = write(&store, |tx| Box::pin(async move {
            let first = gate("g1", "r1", "ok", 10);
            gates::insert(tx, &first).await?;
            let found = gates::get(tx, &first.id).await?;
            let anew = GateRow { shown: json!({ "title": "new" }), hash: "h2".into(), ..first.clone() };
            gates::show_anew(tx, &anew).await?;
            let decided = approved(&anew);
            gates::update(tx, &decided).await?;
            let stored = gates::get(tx, &first.id).await?;
            // What was decided about stays as it was shown.
            gates::show_anew(tx, &first).await?;
            let shown = gates::get(tx, &first.id).await?;
            assert_eq!(stored.as_ref(), Some(&decided));
            Ok((found, decided, shown))
        })).await;
        assert_eq!((found, shown), (Some(gate("g1", "r1", "ok", 10)), Some(decided)));
        // Asked anew, and only once at a time.
        write(&store, |tx| Box::pin(async move { gates::insert(tx, &gate("g2", "r1", "ok", 20)).await })).await;
        let twice = store.write(|tx| Box::pin(async move { gates::insert(tx, &gate("g3", "r1", "ok", 21)).await }));
        assert!(matches!(twice.await, Err(StoreError::Constraint { rule: Rule::Unique, .. })));
        let without = GateRow { status: GateStatus::Decided, ..gate("g2", "r1", "ok", 20) };
        let without = store.write(move |tx| { let row = without.clone(); Box::pin(async move { gates::update(tx, &row).await }) });
        assert!(matches!(without.await, Err(StoreError::Constraint { rule: Rule::Check, .. })), "decided, but nobody said what");
    }

    async fn gates_that_wait_are_listed_by_pages_in_their_company_and_found_when_due(store: Store) {
        with(&store, vec![queued("r1", 1), theirs("x")]).await;
        let (page, rest, counts, due, next, of_run) = write(&store, |tx| Box::pin(async move {
            let never = GateRow { next_at: None, ..gate("g3", "r1", "c", 5) };
            let other = GateRow { company_id: "other".into(), next_at: Some(at(1)), ..gate("g4", "x", "a", 1) };
            for one in [gate("g1", "r1", "a", 10), gate("g2", "r1", "b", 10), never, other] {
                gates::insert(tx, &one).await?;
            }
            gates::insert(tx, &gate("g0", "r1", "d", 2)).await?;
            gates::update(tx, &approved(&gate("g0", "r1", "d", 2))).await?;
            let counts = (gates::count_pending(tx, &company()).await?, gates::count_pending(tx, &"other".into()).await?);
            Ok((
                gates::pending(tx, &company(), (START, ""), 2).await?,
                gates::pending(tx, &company(), (at(10), "g1"), 9).await?,
                counts,
                gates::due(tx, at(70), 2).await?,
                gates::next_due(tx).await?,
                gates::of_run(tx, &"r1".into(), 3).await?,
            ))
        })).await;
        let of = |list: &[GateRow]| list.iter().map(|it| it.id.0.clone()).collect::<Vec<_>>();
        assert_eq!((of(&page), of(&rest)), (vec!["g3".into(), "g1".into()], vec!["g2".to_owned()]));
        assert_eq!((counts, of(&due), next), ((3, 1), vec!["g4".into(), "g1".into()], Some(at(1))));
        assert_eq!(of(&of_run), ["g0", "g3", "g1"]);
    }

    async fn what_happened_is_numbered_and_read_behind_a_number(store: Store) {
        with(&store, vec![queued("r1", 1), queued("r2", 1)]).await;
        let (page, rest, newest, none) = write(&store, |tx| Box::pin(async move {
            for one in [entry("r1", 1), entry("r1", 2), entry("r1", 3), entry("r2", 1)] {
                history::add(tx, &one).await?;
            }
            Ok((
                history::after(tx, &"r1".into(), 0, 2).await?,
                history::after(tx, &"r1".into(), 2, 9).await?,
                history::newest(tx, &"r1".into()).await?,
                history::newest(tx, &"r9".into()).await?,
            ))
        })).await;
        assert_eq!((page, rest), (vec![entry("r1", 1), entry("r1", 2)], vec![entry("r1", 3)]));
        assert_eq!((newest, none), (Some(at(3)), None));
        let twice = store.write(|tx| Box::pin(async move { history::add(tx, &entry("r1", 3)).await }));
        assert!(matches!(twice.await, Err(StoreError::Constraint { rule: Rule::Unique, .. })));
    }

    async fn what_is_over_and_old_goes_with_everything_in_it(store: Store) {
        let paused = AutomationRun { status: AutomationRunStatus::Paused, ..queued("live", 1) };
        with(&store, vec![over("r1", 5), over("r2", 3), over("young", 90), paused]).await;
        let (found, removed, left, rows) = write(&store, |tx| Box::pin(async move {
            for run in ["r1", "young"] {
                nodes::insert(tx, &node(run, "a", 0)).await?;
                nodes::insert_attempt(tx, &attempt(run, "a", 1, 1)).await?;
                gates::insert(tx, &gate(&format!("gate of {run}"), run, "ok", 1)).await?;
                history::add(tx, &entry(run, 1)).await?;
            }
            let found = retention::over_before(tx, at(50), at(50), 9).await?;
            let removed = retention::remove(tx, &found, at(50)).await?;
            let mut rows = Vec::new();
            for run in ["r1", "young"] {
                let run = AutomationRunId::from(run);
                rows.push([
                    nodes::of_run(tx, &run).await?.len(), nodes::attempts(tx, &run, 9).await?.len(),
                    gates::of_run(tx, &run, 9).await?.len(), history::after(tx, &run, 0, 9).await?.len(),
                ]);
            }
            Ok((found, removed, retention::known(tx, &["r1", "r2", "young", "live"].map(AutomationRunId::from)).await?, rows))
        })).await;
        assert_eq!((texts(&found), removed), (vec!["r2", "r1"], 2), "the longest over first");
        let mut left = texts(&left).into_iter().map(str::to_owned).collect::<Vec<_>>();
        left.sort();
        assert_eq!(left, ["live", "young"]);
        assert_eq!(rows, [[0; 4], [1; 4]]);
    }

    async fn a_run_that_somebody_had_go_on_meanwhile_stays(store: Store) {
        with(&store, vec![over("r1", 5), over("r2", 5)]).await;
        let (removed, left) = write(&store, |tx| Box::pin(async move {
            let old = retention::over_before(tx, at(50), at(50), 9).await?;
            runs::update(tx, &AutomationRun { finished_at: None, ..queued("r2", 40) }).await?;
            Ok((retention::remove(tx, &old, at(50)).await?, runs::get(tx, &"r2".into()).await?.is_some()))
        })).await;
        assert_eq!((removed, left), (1, true));
    }

    async fn a_key_keeps_its_run_for_as_long_as_keys_live(store: Store) {
        let keyed = |id: &str, created: i64| AutomationRun {
            idempotency_key: Some(id.into()), created_at: at(created), ..over(id, 20)
        };
        with(&store, vec![keyed("old", 1), keyed("young", 10), over("r1", 20)]).await;
        let found = store.read(|tx| Box::pin(async move { retention::over_before(tx, at(50), at(10), 9).await }));
        assert_eq!(texts(&found.await.unwrap()), ["old", "r1"]);
    }

    async fn runs_that_began_after_one_another_go_from_the_last_of_them(store: Store) {
        let live = AutomationRun { status: AutomationRunStatus::Running, finished_at: None, ..after("c2", "c1", 1) };
        with(&store, vec![over("a", 1), after("b", "a", 2), after("c", "b", 3), over("c1", 1), live]).await;
        let passes = write(&store, |tx| Box::pin(async move {
            let mut passes = Vec::new();
            for _ in 0..4 {
                let found = retention::over_before(tx, at(50), at(50), 9).await?;
                retention::remove(tx, &found, at(50)).await?;
                passes.push(found.iter().map(|id| id.0.clone()).collect::<Vec<_>>());
            }
            Ok(passes)
        })).await;
        assert_eq!(passes, [vec!["c".to_owned()], vec!["b".into()], vec!["a".into()], vec![]], "c1 led to a run that is there");
    }

    async fn the_runs_of_agents_stay_as_long_as_the_run_that_they_worked_for(store: Store) {
        with(&store, vec![over("r1", 5)]).await;
        issue_fixture::queue(&store, vec![
            issue_fixture::run("worked", "ada", None, 1), issue_fixture::run("alone", "ada", None, 2),
        ]).await;
        for id in ["worked", "alone"] {
            issue_fixture::start(&store, id).await;
            issue_fixture::finish(&store, id.into()).await;
        }
        let (first, then) = write(&store, |tx| Box::pin(async move {
            let ended = Attempt {
                state: AttemptState::Ended, agent_run_id: Some("worked".into()), ..attempt("r1", "a", 1, 1)
            };
            nodes::insert_attempt(tx, &ended).await?;
            let first = store::retention::finished_before(tx, "node", at(50), 9).await?;
            retention::remove(tx, &["r1".into()], at(50)).await?;
            Ok((first, store::retention::finished_before(tx, "node", at(50), 9).await?))
        })).await;
        assert_eq!(first, [RunId("alone".into())]);
        assert_eq!(then.into_iter().map(|id| id.0).collect::<HashSet<_>>(), HashSet::from(["worked".into(), "alone".into()]));
    }
}
