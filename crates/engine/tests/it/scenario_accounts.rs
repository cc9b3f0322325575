//! S8 and S9: a limit or a lost login is met once, whoever shares the account waits, and all go on by themselves.
//!
//! The clock is moved by hand; what processes do is played at once, and each start notes its time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use domain::account::ParkedFor;
use domain::hold::HeldReason;
use domain::ids::RunId;
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::Actor;
use engine::{
    AccountPatch, AgentDraft, AgentPatch, Author, Clock, Engine, EngineError, SecretDraft, SecretValue,
};
use serde_json::json;
use store::agents::Agent;
use store::inbox::InboxItem;
use store::runs::{Listed, Run};
use testkit::{Model, NOON, Server, World, both_stores};

use crate::board::Board;

const SECOND: Duration = Duration::from_secs(1);
const AGENTS: usize = 17;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Moment {
    NOON.plus(Duration::from_secs(seconds))
}

/// When processes were started.
type Starts = Arc<Mutex<Vec<Moment>>>;

/// Plays every process that starts: refused like this until a moment, and well from then on.
fn plays(world: &World, class: ErrorClass, until: Moment, named: Option<Moment>) -> Starts {
    let starts = Starts::default();
    let (clock, seen) = (Arc::clone(&world.clock), Arc::clone(&starts));
    world.model.on_start(move |model, id, _| {
        let now = clock.now();
        seen.lock().unwrap().push(now);
        if now < until {
            model.say_failed(id, class, named);
            model.exit(id, 1);
        } else {
            model.say_usage(id, 10, 1, 100);
            model.say_done(id);
            model.exit(id, 0);
        }
    });
    starts
}

async fn team(board: &Board, count: usize) -> Vec<Agent> {
    let mut agents = Vec::new();
    for number in 0..count {
        let draft = AgentDraft {
            name: format!("Agent {number}"),
            adapter_config: json!({ "script": "hang", "graceSec": 1, "account": "team" }),
            ..World::scripted(1)
        };
        agents.push(board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap());
    }
    agents
}

async fn all_runs(world: &World, agents: &[Agent]) -> Vec<Run> {
    let company = agents[0].company_id.clone();
    let read = world.read(move |tx| {
        let listed = Listed::Company(company.clone());
        Box::pin(async move { store::runs::listed(tx, &listed, None, None, 10_000).await })
    });
    let mut runs = read.await;
    runs.reverse();
    runs.retain(|run| agents.iter().any(|agent| agent.id == run.agent_id));
    runs
}

async fn with_status(world: &World, agents: &[Agent], status: RunStatus) -> Vec<Run> {
    all_runs(world, agents).await.into_iter().filter(|run| run.status == status).collect()
}

/// Wakes one agent after another, one each second, as often as asked.
async fn storm(board: &Board, agents: &[Agent], times: usize) {
    for number in 0..times {
        let agent = &agents[number % agents.len()];
        board.engine.wake(&agent.id, World::request("work")).await.unwrap();
        settled(board, agents).await;
        board.world.clock.advance(SECOND);
        board.engine.nudge();
        // What became due with that second is over before more time goes by.
        settled(board, agents).await;
    }
}

/// Waits until no run is under way: whatever could start did, is over and recorded.
async fn settled(board: &Board, agents: &[Agent]) {
    board
        .world
        .eventually("every run at rest", || async {
            // What began and ended between two looks left the queue, and may have put something else there.
            let before = with_status(&board.world, agents, RunStatus::Queued).await;
            let is_held = all_held(board, agents).await;
            let runs = all_runs(&board.world, agents).await;
            let rests = |run: &&Run| run.status == RunStatus::Queued;
            let is_quiet = is_held
                && runs.iter().all(|run| run.status != RunStatus::Running)
                && runs.iter().filter(rests).map(|run| &run.id).eq(before.iter().map(|run| &run.id));
            if !is_quiet {
                // Time was moved by hand, which no sweep sees by itself.
                board.engine.nudge();
            }
            is_quiet.then_some(())
        })
        .await;
}

/// Whatever waits has something to wait for; what could start may not have been looked at yet.
async fn all_held(board: &Board, agents: &[Agent]) -> bool {
    let waiting = with_status(&board.world, agents, RunStatus::Queued).await;
    board.engine.held(&waiting).await.unwrap().iter().all(Option::is_some)
}

/// Every agent has a run that waits for the account, and it says until when.
async fn all_wait(engine: &Engine, world: &World, agents: &[Agent], until: Option<Moment>) {
    let waiting = with_status(world, agents, RunStatus::Queued).await;
    assert_eq!(waiting.len(), agents.len(), "each agent has one run that waits");
    for held in engine.held(&waiting).await.unwrap() {
        let held = held.expect("it is held");
        assert_eq!((held.reason, held.until), (HeldReason::Quota, until));
    }
}

/// Lets time go on in small steps until all of these agents have succeeded once; returns how long that took.
async fn resumes(board: &Board, agents: &[Agent]) -> Duration {
    let since = board.world.clock.now();
    no_queue_left(board, agents).await;
    settled(board, agents).await;
    board.world.clock.now().since(since)
}

/// Lets time go on until nothing waits. It stands still while something could start: how fast the machine is must not
/// show in what is measured.
async fn no_queue_left(board: &Board, agents: &[Agent]) {
    let steps = async {
        while !with_status(&board.world, agents, RunStatus::Queued).await.is_empty() {
            if all_held(board, agents).await {
                board.world.clock.advance(Duration::from_millis(100));
            }
            board.engine.nudge();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(4 * testkit::patience(), steps).await.is_err() {
        panic!("not all went on: {:#?}", board.engine.accounts(&board.company).await.unwrap());
    }
}

/// At most two runs were let in in any second.
async fn assert_spread(world: &World, agents: &[Agent]) {
    let runs = with_status(world, agents, RunStatus::Succeeded).await;
    let mut let_in: Vec<Moment> = runs.iter().filter_map(|run| run.started_at).collect();
    let_in.sort();
    for window in let_in.windows(3) {
        assert!(window[2].since(window[0]) >= SECOND, "three starts in a second: {let_in:?}");
    }
}

async fn inbox(board: &Board) -> Vec<InboxItem> {
    board.engine.inbox(&board.company, None, 100).await.unwrap().items
}

async fn only_account(board: &Board) -> engine::AccountView {
    let mut all = board.engine.accounts(&board.company).await.unwrap();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// S8 with a reset that the provider names.
async fn named_reset(world: World, reset: u64) {
    let board = Board::new(&world).await;
    let agents = team(&board, AGENTS).await;
    let starts = plays(&world, ErrorClass::Quota, at(reset), Some(at(reset)));
    storm(&board, &agents, 60).await;
    assert_eq!(starts.lock().unwrap().len(), 1, "one process met the limit");
    all_wait(&board.engine, &world, &agents, Some(at(reset))).await;
    // Somebody says something meanwhile: it is taken, and says when it will be read.
    let issue = board.quiet("Fix the parser", IssueStatus::Todo, Some(&agents[3])).await;
    board.say(&issue.id, "How is it going?", &Board::person()).await.unwrap();
    let asked = world
        .eventually("a run for the comment", || async {
            let waiting = world.runs_of(&agents[3].id).await;
            waiting.into_iter().find(|run| run.issue_id.as_deref() == Some(issue.id.as_str()))
        })
        .await;
    let told = board.engine.explain(&asked.id).await.unwrap();
    assert_eq!((told.held_reason, told.held_until), (Some(HeldReason::Quota), Some(at(reset))));
    let words = format!("waiting for quota until {}", at(reset).iso());
    assert!(told.waits_for.as_deref().is_some_and(|it| it.starts_with(&words)), "{:?}", told.waits_for);
    // Until a moment before the reset nothing starts, however often everything is looked at.
    for part in 1..20 {
        world.clock.set(at(60 + (reset - 61) * part / 20));
        board.engine.nudge();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(starts.lock().unwrap().len(), 1);
    world.clock.set(at(reset));
    board.engine.nudge();
    let took = resumes(&board, &agents).await;
    assert!(took <= Duration::from_secs(30), "{took:?}");
    let starts = starts.lock().unwrap().clone();
    assert!(starts[1] >= at(reset));
    assert_eq!(starts.len(), 1 + AGENTS + 1, "one run for each agent, and one for the comment");
    assert_spread(&world, &agents).await;
    assert_eq!(with_status(&world, &agents, RunStatus::Failed).await.len(), 1);
    // The run that was refused is asked for again, and is no attempt.
    let failed = with_status(&world, &agents, RunStatus::Failed).await.remove(0);
    let again = all_runs(&world, &agents)
        .await
        .into_iter()
        .find(|run| run.retry_of_run_id == Some(failed.id.clone()));
    let again = again.expect("its work is asked for again");
    assert_eq!((again.status, again.retry_attempt), (RunStatus::Succeeded, 0));
    assert_eq!(inbox(&board).await, [], "nobody has to do anything");
}

/// A login in a folder, as Claude Code has it.
fn claude(folder: &Path, name: &str) -> AgentDraft {
    AgentDraft {
        name: name.to_owned(),
        adapter_type: "claude_local".to_owned(),
        adapter_config: json!({ "command": "/bin/true", "env": { "CLAUDE_CONFIG_DIR": folder } }),
        ..AgentDraft::default()
    }
}

/// Plays Claude Code: refused while nobody is logged in.
fn plays_claude(model: &Model, clock: Arc<dyn Clock>, logged_in: Arc<AtomicBool>) -> Starts {
    let starts = Starts::default();
    let seen = Arc::clone(&starts);
    model.on_start(move |model, id, _| {
        seen.lock().unwrap().push(clock.now());
        let result = if logged_in.load(Ordering::SeqCst) {
            json!({ "type": "result", "subtype": "success", "is_error": false, "result": "done",
                "usage": { "input_tokens": 9, "output_tokens": 9 } })
        } else {
            json!({ "type": "result", "subtype": "success", "is_error": true, "api_error_status": 401,
                "result": "Failed to authenticate: refresh_token_reused" })
        };
        model.print(id, &format!("{result}\n"));
        model.exit(id, i32::from(!logged_in.load(Ordering::SeqCst)));
    });
    starts
}

/// Writes the login, as so many seconds after a moment long before anything that happens here: the clock of the test is
/// not that of files.
fn write_login(folder: &Path, text: &str, seconds: u64) -> PathBuf {
    let file = folder.join(".credentials.json");
    std::fs::write(&file, text).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + seconds);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
    file
}

struct LoginLost {
    board: Board,
    agents: Vec<Agent>,
    starts: Starts,
    logged_in: Arc<AtomicBool>,
    folder: tempfile::TempDir,
}

/// Five agents whose common login was lost, and met by the first of them.
async fn login_lost(world: &World) -> LoginLost {
    let folder = tempfile::tempdir().unwrap();
    write_login(folder.path(), "{\"token\":\"old\"}", 0);
    let board = Board::new(world).await;
    let mut agents = Vec::new();
    for number in 0..5 {
        let draft = claude(folder.path(), &format!("Claude {number}"));
        agents.push(board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap());
    }
    let logged_in = Arc::new(AtomicBool::new(false));
    let starts = plays_claude(&world.model, Arc::clone(&world.clock) as _, Arc::clone(&logged_in));
    storm(&board, &agents, 20).await;
    assert_eq!(starts.lock().unwrap().len(), 1);
    all_wait(&board.engine, world, &agents, None).await;
    LoginLost { board, agents, starts, logged_in, folder }
}

both_stores! {
    async fn a_limit_that_resets_in_a_minute_is_met_once_and_all_go_on_within_half_a_minute(world) {
        named_reset(world, 63).await;
    }

    async fn a_limit_that_resets_in_four_days_is_met_once_and_all_go_on_then(world) {
        named_reset(world, 4 * DAY).await;
    }

    async fn unknown_words_park_the_account_and_four_runs_fail_in_a_day(world) {
        let board = Board::new(&world).await;
        let agents = team(&board, AGENTS).await;
        let starts = plays(&world, ErrorClass::Other, at(DAY), None);
        storm(&board, &agents, 30).await;
        assert_eq!(starts.lock().unwrap().len(), 3);
        let account = only_account(&board).await;
        let park = account.stored.account.park().cloned().expect("it is parked");
        assert!(park.until.unwrap().since(starts.lock().unwrap()[2]) >= Duration::from_secs(300));
        assert!(account.waits_for.unwrap().contains("waiting for quota until"));
        assert_eq!(account.agents.len(), AGENTS);
        for _ in 0..48 {
            world.clock.advance(Duration::from_secs(1700));
            storm(&board, &agents, 1).await;
        }
        assert_eq!(with_status(&world, &agents, RunStatus::Failed).await.len(), 4);
        let told: Vec<String> = inbox(&board).await.into_iter().map(|item| item.kind).collect();
        assert_eq!(told, ["account_parked"]);
        // A day after the first it is tried again, and works.
        world.clock.set(at(DAY + 1));
        board.engine.nudge();
        resumes(&board, &agents).await;
        assert_eq!(inbox(&board).await, []);
    }

    async fn with_auto_resume_off_somebody_is_asked_once(world) {
        let board = Board::new(&world).await;
        let agents = team(&board, 3).await;
        let starts = plays(&world, ErrorClass::Quota, at(60), Some(at(60)));
        storm(&board, &agents, 3).await;
        let account = only_account(&board).await.stored.id;
        board.engine.change_account(&account, AccountPatch::AutoResume(false), &Board::person()).await.unwrap();
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(60));
            board.engine.nudge();
            world.eventually("a question", || async { (inbox(&board).await.len() == 1).then_some(()) }).await;
        }
        assert_eq!(starts.lock().unwrap().len(), 1);
        all_wait(&board.engine, &world, &agents, None).await;
        let item = inbox(&board).await.remove(0);
        assert_eq!((item.kind.as_str(), item.cause.as_str()), ("account_parked", "go_on"));
        let by_agent = Author::agent(&agents[0].id, None);
        let refused = board.engine.change_account(&account, AccountPatch::Resume, &by_agent).await;
        assert!(matches!(refused, Err(EngineError::Refused { .. })), "{refused:?}");
        board.engine.change_account(&account, AccountPatch::Resume, &Board::person()).await.unwrap();
        resumes(&board, &agents).await;
        assert_eq!(inbox(&board).await, []);
    }

    async fn a_lost_login_is_told_once_and_all_go_on_when_somebody_logs_in(world) {
        let LoginLost { board, agents, starts, logged_in, folder } = login_lost(&world).await;
        // A day of wakes: nothing is started, nobody is told again.
        for _ in 0..24 {
            world.clock.advance(Duration::from_secs(3600));
            storm(&board, &agents, 1).await;
        }
        assert_eq!(starts.lock().unwrap().len(), 1);
        let items = inbox(&board).await;
        assert_eq!(items.len(), 1);
        assert_eq!((items[0].kind.as_str(), items[0].entity_type.as_str()), ("account_login", "account"));
        let file = write_login(folder.path(), "{\"token\":\"brand new\"}", 1);
        logged_in.store(true, Ordering::SeqCst);
        let since = world.clock.now();
        board.engine.nudge();
        let took = resumes(&board, &agents).await;
        assert!(took <= Duration::from_secs(30), "{took:?}");
        let starts = starts.lock().unwrap().clone();
        assert_eq!(starts.len(), 1 + agents.len());
        assert!(starts[1] >= since);
        assert_spread(&world, &agents).await;
        assert_eq!(inbox(&board).await, []);
        assert_eq!(with_status(&world, &agents, RunStatus::Failed).await.len(), 1);
        // The login was looked at from the outside only: nobody has read it, and there is no copy of it.
        assert_no_copy(folder.path(), "brand new", &file);
        assert_no_copy(&world.settings().data_dir, "brand new", &file);
    }

    async fn a_login_that_changed_and_is_still_refused_costs_one_run(world) {
        let LoginLost { board, agents, starts, folder, .. } = login_lost(&world).await;
        write_login(folder.path(), "{\"token\":\"also wrong\"}", 1);
        board.engine.nudge();
        world.eventually("one more start", || async { (starts.lock().unwrap().len() == 2).then_some(()) }).await;
        settled(&board, &agents).await;
        storm(&board, &agents, 10).await;
        let items = inbox(&board).await.len();
        assert_eq!((starts.lock().unwrap().len(), items), (2, 1));
        // Somebody says that it is done, and is wrong again.
        let account = only_account(&board).await.stored.id;
        board.engine.change_account(&account, AccountPatch::Resume, &Board::person()).await.unwrap();
        world.eventually("one more start", || async { (starts.lock().unwrap().len() == 3).then_some(()) }).await;
        settled(&board, &agents).await;
        storm(&board, &agents, 10).await;
        assert_eq!(starts.lock().unwrap().len(), 3);
    }

    async fn a_login_between_the_end_of_a_process_and_its_record_is_not_missed(world) {
        let folder = tempfile::tempdir().unwrap();
        let board = Board::new(&world).await;
        let draft = claude(folder.path(), "Claude");
        let agent = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        let (run, process) = world.start(&board.engine, &agent.id, "a").await;
        // Files are of today, and what the model plays ended long ago: by the record, it was before the login.
        std::fs::write(folder.path().join(".credentials.json"), "{}").unwrap();
        let starts = plays_claude(&world.model, Arc::clone(&world.clock) as _, Arc::new(AtomicBool::new(true)));
        let refused = json!({ "type": "result", "is_error": true, "api_error_status": 401, "result": "Please log in" });
        world.model.print(&process, &format!("{refused}\n"));
        world.model.exit(&process, 1);
        assert_eq!(world.over(&run.id).await.error_code.as_deref(), Some("claude_auth_required"));
        resumes(&board, std::slice::from_ref(&agent)).await;
        assert_eq!(starts.lock().unwrap().len(), 1);
        assert_eq!(inbox(&board).await, []);
    }

    async fn an_agent_that_is_given_another_login_tries_it_with_one_run(world) {
        let LoginLost { board, agents, starts, logged_in, folder: _folder } = login_lost(&world).await;
        let other = tempfile::tempdir().unwrap();
        logged_in.store(true, Ordering::SeqCst);
        world.model.idle_on_start();
        // Those come first that only waited: no run of theirs ever met the lost login.
        for agent in agents.iter().rev() {
            let config = json!({ "env": { "CLAUDE_CONFIG_DIR": other.path() } });
            let patch = AgentPatch { adapter_config: Some(config), ..AgentPatch::default() };
            board.engine.patch_agent(&agent.id, patch, &Actor::local_board()).await.unwrap();
        }
        let tries = world
            .eventually("one run that tries it", || async {
                with_status(&world, &agents, RunStatus::Running).await.into_iter().next()
            })
            .await;
        for _ in 0..5 {
            board.engine.nudge();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(with_status(&world, &agents, RunStatus::Running).await.len(), 1);
        // Its first answer lets the others follow, though it goes on.
        world.model.until_alive(&World::first(&tries.id)).await;
        let usage = json!({ "type": "assistant", "message": { "id": "m", "model": "claude",
            "content": [{ "type": "text", "text": "Hm." }], "usage": { "input_tokens": 9, "output_tokens": 9 } } });
        world.model.print(&World::first(&tries.id), &format!("{usage}\n"));
        resumes_while_running(&board, &agents).await;
        assert_eq!(starts.lock().unwrap().len(), 1);
    }

    async fn a_changed_configuration_tries_the_lost_login_once(world) {
        let LoginLost { board, agents, starts, logged_in, folder: _folder } = login_lost(&world).await;
        logged_in.store(true, Ordering::SeqCst);
        let config = json!({ "model": "sonnet" });
        let patch = AgentPatch { adapter_config: Some(config), ..AgentPatch::default() };
        board.engine.patch_agent(&agents[0].id, patch, &Actor::local_board()).await.unwrap();
        resumes(&board, &agents).await;
        assert_eq!(starts.lock().unwrap().len(), 1 + agents.len());
    }

    async fn a_login_that_is_taken_away_is_no_login(world) {
        let LoginLost { board, agents, starts, folder, .. } = login_lost(&world).await;
        std::fs::remove_file(folder.path().join(".credentials.json")).unwrap();
        storm(&board, &agents, 10).await;
        let park = only_account(&board).await.stored.account.park().cloned().expect("it is parked");
        assert_eq!((starts.lock().unwrap().len(), park.until), (1, None));
        // Whoever logs in anew is noticed.
        write_login(folder.path(), "{\"token\":\"of another day\"}", 1);
        board.engine.nudge();
        world.eventually("one more start", || async { (starts.lock().unwrap().len() == 2).then_some(()) }).await;
    }

    async fn a_rotated_secret_tries_the_account_of_its_agents_once(world) {
        let board = Board::new(&world).await;
        let draft = SecretDraft {
            name: "anthropic".to_owned(),
            value: SecretValue::new("key-of-the-first-day".to_owned()),
            provider: "local_encrypted".to_owned(),
            description: None,
            external_ref: None,
        };
        let secret = board.engine.create_secret(&board.company, draft, &Board::person()).await.unwrap();
        let mut agents = Vec::new();
        for number in 0..3 {
            let key = json!({ "type": "secret_ref", "secretId": secret.id });
            let draft = AgentDraft {
                name: format!("Claude {number}"),
                adapter_type: "claude_local".to_owned(),
                adapter_config: json!({ "command": "/bin/true", "env": { "ANTHROPIC_API_KEY": key } }),
                ..AgentDraft::default()
            };
            agents.push(board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap());
        }
        let logged_in = Arc::new(AtomicBool::new(false));
        let starts = plays_claude(&world.model, Arc::clone(&world.clock) as _, Arc::clone(&logged_in));
        storm(&board, &agents, 10).await;
        assert_eq!(starts.lock().unwrap().len(), 1);
        // A value that is wrong again costs one run, and the right one lets all go on.
        let rotate = |value: &str| {
            let value = SecretValue::new(value.to_owned());
            let (engine, id) = (board.engine.clone(), secret.id.clone());
            async move { engine.rotate_secret(&id, value, None, &Board::person()).await.unwrap() }
        };
        rotate("key-that-is-wrong-too").await;
        world.eventually("one more start", || async { (starts.lock().unwrap().len() == 2).then_some(()) }).await;
        storm(&board, &agents, 10).await;
        let told = inbox(&board).await.len();
        assert_eq!((starts.lock().unwrap().len(), told), (2, 1));
        logged_in.store(true, Ordering::SeqCst);
        rotate("key-that-is-right").await;
        resumes(&board, &agents).await;
        let told = inbox(&board).await.len();
        assert_eq!((starts.lock().unwrap().len(), told), (2 + agents.len(), 0));
    }

    async fn what_an_agent_of_the_protocol_meets_parks_the_account_of_its_program(world) {
        let board = Board::new(&world).await;
        let internal = |words: &str| json!({ "code": -32603, "message": format!("Internal error: {words}") });
        let rows = [
            (internal("You've hit your usage limit."), ParkedFor::Quota),
            (internal("API Error: 402 Payment Required"), ParkedFor::Quota),
            (internal("OAuth token has expired. Please run /login"), ParkedFor::Login),
            (json!({ "code": -32000, "message": "Authentication required" }), ParkedFor::Login),
        ];
        for (number, (error, why)) in rows.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            write_login(folder.path(), "{}", 0);
            let program = folder.path().join("claude-agent-acp");
            std::os::unix::fs::symlink("/bin/true", &program).unwrap();
            let draft = AgentDraft {
                name: format!("Spoken {number}"),
                adapter_type: "acp".to_owned(),
                adapter_config: json!({ "command": program, "env": { "CLAUDE_CONFIG_DIR": folder.path() } }),
                ..AgentDraft::default()
            };
            let spoken = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
            let printed = claude(folder.path(), &format!("Printed {number}"));
            let printed = board.engine.create_agent(&board.company, printed, &Actor::local_board()).await.unwrap();
            let answer = error.clone();
            world.model.on_start(move |model, id, _| {
                for line in [
                    json!({ "to_agent": { "jsonrpc": "2.0", "id": 3, "method": "session/prompt" } }),
                    json!({ "from_agent": { "jsonrpc": "2.0", "id": 3, "error": answer } }),
                    json!({ "ended": { "code": 0, "signal": null } }),
                ] {
                    model.print(id, &format!("{line}\n"));
                }
                model.exit(id, 0);
            });
            board.engine.wake(&spoken.id, World::request("work")).await.unwrap();
            settled(&board, std::slice::from_ref(&spoken)).await;
            // Whoever prints with the same login waits, too.
            board.engine.wake(&printed.id, World::request("work")).await.unwrap();
            let waiting = with_status(&world, &[spoken, printed], RunStatus::Queued).await;
            let held = board.engine.held_reasons(&waiting).await.unwrap();
            assert_eq!(held, [Some(HeldReason::Quota), Some(HeldReason::Quota)], "{error}");
            let accounts = board.engine.accounts(&board.company).await.unwrap();
            let parks: Vec<_> = accounts.iter().filter_map(|view| Some(view.stored.account.park()?.why)).collect();
            assert_eq!((parks.len(), parks[number]), (number + 1, why), "{error}");
        }
    }

    async fn two_servers_try_an_account_with_one_run(world) {
        let board = Board::new(&world).await;
        let agents = team(&board, 8).await;
        let starts = plays(&world, ErrorClass::Quota, at(30), Some(at(60)));
        storm(&board, &agents, 8).await;
        let other = world.engine_with(engine::Settings { node_id: "node-2".to_owned(), ..world.settings() }).await;
        world.model.idle_on_start();
        world.clock.set(at(60));
        for _ in 0..20 {
            board.engine.nudge();
            other.nudge();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        world
            .eventually("one run that tries it", || async {
                let is_one = with_status(&world, &agents, RunStatus::Running).await.len() == 1;
                (is_one && !world.model.alive().is_empty()).then_some(())
            })
            .await;
        assert_eq!((world.model.alive().len(), starts.lock().unwrap().len()), (1, 1));
        other.leave().await;
    }

    async fn a_server_that_dies_anywhere_leaves_the_account_as_it_was(world) {
        let server = Server::start(&world, world.settings()).await;
        let company = { let world = world.clone(); server.call(move |engine| async move { world.company(&engine).await }).await };
        let on = |engine: Engine| Board { world: world.clone(), engine, company: company.clone() };
        let board = on(server.engine().clone());
        let agents = server.call(|_| async move { team(&board, 4).await }).await;
        let starts = plays(&world, ErrorClass::Quota, at(60), Some(at(60)));
        for agent in &agents {
            server.wake(&agent.id, "work").await;
            let (board, agents) = (on(server.engine().clone()), agents.clone());
            server.call(|_| async move { settled(&board, &agents).await }).await;
        }
        // Parked.
        let server = again(&world, server).await;
        assert_eq!(starts.lock().unwrap().len(), 1);
        {
            let (world, agents) = (world.clone(), agents.clone());
            server.call(move |engine| async move { all_wait(&engine, &world, &agents, Some(at(60))).await }).await;
        }
        // Due: one run tries it, and its server dies.
        world.model.idle_on_start();
        world.clock.set(at(60));
        server.engine().nudge();
        let probe = until_running(&world, &agents, 1).await.remove(0);
        world.model.until_alive(&World::first(&probe)).await;
        let server = again(&world, server).await;
        world.eventually("taken over", || async { server.engine().recovery().done.then_some(()) }).await;
        server.engine().nudge();
        assert_eq!(until_running(&world, &agents, 1).await, std::slice::from_ref(&probe));
        // It works, and the server dies while the others follow.
        world.model.say_usage(&World::first(&probe), 10, 1, 100);
        world.model.say_done(&World::first(&probe));
        world.model.exit(&World::first(&probe), 0);
        world.over(&probe).await;
        let server = again(&world, server).await;
        {
            let (board, agents) = (on(server.engine().clone()), agents.clone());
            server.call(|_| async move { no_queue_left(&board, &agents).await }).await;
        }
        assert_eq!(until_running(&world, &agents, 3).await.len(), 3);
        server.leave(&world).await;
    }

    async fn a_probe_that_was_cancelled_makes_room_for_the_next(world) {
        let board = Board::new(&world).await;
        let agents = team(&board, 3).await;
        plays(&world, ErrorClass::Quota, at(60), Some(at(60)));
        storm(&board, &agents, 3).await;
        world.model.idle_on_start();
        world.clock.set(at(60));
        board.engine.nudge();
        let first = until_running(&world, &agents, 1).await.remove(0);
        board.engine.cancel_run(&first, None, &Actor::local_board()).await.unwrap();
        world.over(&first).await;
        board.engine.nudge();
        let second = until_running(&world, &agents, 1).await.remove(0);
        assert_ne!(first, second);
    }

    async fn agents_of_other_accounts_and_those_without_one_work_on(world) {
        let board = Board::new(&world).await;
        let agents = team(&board, 1).await;
        plays(&world, ErrorClass::Quota, at(60), Some(at(60)));
        storm(&board, &agents, 1).await;
        world.model.idle_on_start();
        let free = board.agent("Free").await;
        world.start(&board.engine, &free.id, "a").await;
        let draft = AgentDraft {
            name: "Other".to_owned(),
            adapter_config: json!({ "script": "hang", "account": "other" }),
            ..World::scripted(1)
        };
        let other = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        world.start(&board.engine, &other.id, "a").await;
        let states: Vec<&str> = board.engine.accounts(&board.company).await.unwrap().iter()
            .map(|view| view.stored.account.state().as_str()).collect();
        assert_eq!(states, ["parked", "open"]);
        // Another company's account of the same name is another account.
        let neighbour = board.neighbour().await;
        let theirs = team(&neighbour, 1).await;
        world.start(&neighbour.engine, &theirs[0].id, "a").await;
    }
}

async fn again(world: &World, server: Server) -> Server {
    server.kill(world).await;
    Server::start(world, world.settings()).await
}

/// Waits until so many runs are under way, and no more come.
async fn until_running(world: &World, agents: &[Agent], count: usize) -> Vec<RunId> {
    let running = world
        .eventually("runs under way", || async {
            let running = with_status(world, agents, RunStatus::Running).await;
            (running.len() == count).then_some(running)
        })
        .await;
    running.into_iter().map(|run| run.id).collect()
}

/// Lets time go on until nobody waits any more; what has started goes on.
async fn resumes_while_running(board: &Board, agents: &[Agent]) {
    no_queue_left(board, agents).await;
}

/// No file below a folder but the one itself has these words.
fn assert_no_copy(folder: &Path, words: &str, itself: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_copy(&path, words, itself);
        } else if path != itself {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(words), "a copy: {}", path.display());
        }
    }
}
