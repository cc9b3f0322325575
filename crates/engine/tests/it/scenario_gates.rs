//! S14: the first valid decision of a gate wins once, and what was decided is done once, whatever dies.
//!
//! 100 gates, 72 hours of the clock and two kills of the server; `BUGLE_SOAK=n` takes n gates and a kill for each 200
//! (`cargo xtask soak gates`). A prompt for a permission is a question of a run of an agent: `permissions.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::ids::{AgentId, AutomationId, AutomationRunId, CompanyId, GateId};
use domain::moment::Moment;
use domain::wake::{Actor, ActorKind};
use engine::{Author, Engine, EngineError, GateDecision, LaunchDraft, Settings};
use serde_json::{Value as Json, json};
use store::automations::gates::{self, GateRow};
use store::automations::history::{self, Entry};
use store::automations::runs::{self, AutomationRun};
use testkit::{Server, World, on_postgres, on_sqlite, within};

use crate::automations::result;

/// The folders of runs that work in one begin so.
const WORK: &str = "work-";
const HOUR: Duration = Duration::from_secs(3_600);
/// Twelve stretches of six hours.
const STRETCHES: usize = 12;
/// A gate that expires does so in the fourth stretch.
const EXPIRES_SEC: u64 = 24 * 3_600;
/// So many gates are decided in the same moment.
const AT_ONCE: usize = 8;
/// Each has ten slots.
const AGENTS: usize = 6;
/// After it was approved.
const STARTED_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn what_people_decided_is_done_once_on_sqlite() {
    on_sqlite(Round::play);
}

#[test]
fn what_people_decided_is_done_once_on_postgres() {
    on_postgres(Round::play);
}

/// Gates, and kills of the server.
fn measure() -> (usize, usize) {
    let gates = std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(100_usize);
    (gates, (gates / 200).max(2))
}

/// What people do about a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plot {
    /// One approves.
    Plain,
    /// One sends the same approval twice at once.
    Twice,
    /// Two approve at once, one in the browser and one in a chat.
    Two,
    /// One approves while another one cancels.
    Against,
    /// One approves while another one sends it back.
    SentBack,
    /// A file that was shown is changed, then it is approved.
    Changed,
    /// An agent, somebody who is no approver, and who started the run try before somebody may.
    Own,
    /// Nobody decides in time, and then two do.
    Late,
    /// Of two gates of one run, each is decided with the digest of the other one first.
    Beside,
}

/// By turns; the run of the last one has two gates.
const PLOTS: [Plot; 9] = [
    Plot::Plain,
    Plot::Twice,
    Plot::Two,
    Plot::Against,
    Plot::SentBack,
    Plot::Changed,
    Plot::Own,
    Plot::Late,
    Plot::Beside,
];

/// A gate and what is to become of it.
#[derive(Debug, Clone)]
struct Question {
    plot: Plot,
    run: AutomationRunId,
    gate: GateId,
    /// As it was shown at first.
    hash: String,
    /// The digest of the gate beside it.
    other: Option<String>,
    /// The step that it stands before.
    action: &'static str,
    stretch: usize,
    workspace: Option<PathBuf>,
    agent: AgentId,
    /// The server died while it was decided: whoever heard nothing asked again.
    died: bool,
}

/// What somebody was told about a decision.
#[derive(Debug, Clone)]
struct Answer {
    gate: GateId,
    by: Author,
    decision: Decision,
    hash: String,
    /// The code of the refusal.
    said: Result<(), String>,
    at: Instant,
}

/// A real action: a process that began to work.
#[derive(Debug, Clone)]
struct Line {
    run: String,
    node: String,
    attempt: String,
    at: Instant,
}

/// What happened outside of every server.
#[derive(Debug, Default)]
struct Book {
    answers: Mutex<Vec<Answer>>,
    ledger: Mutex<Vec<Line>>,
}

impl Book {
    fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    fn ledger(&self) -> Vec<Line> {
        self.ledger.lock().unwrap().clone()
    }

    /// Lines about a step.
    fn lines(&self, run: &AutomationRunId, node: &str) -> usize {
        self.ledger().iter().filter(|line| line.run == run.as_str() && line.node == node).count()
    }

    fn approved(&self, gate: &GateId) -> bool {
        self.won(gate).is_some_and(|answer| answer.decision == Decision::Approve)
    }

    fn won(&self, gate: &GateId) -> Option<Answer> {
        self.answers().into_iter().find(|answer| answer.gate == *gate && answer.said.is_ok())
    }
}

fn person(name: &str) -> Author {
    Author::Board { user: Some(name.to_owned()), may_assign: true }
}

/// Whoever decides, in the runtime of a server: with it they lose their answer.
#[derive(Clone)]
struct Desk {
    engine: Engine,
    book: Arc<Book>,
    deaf: bool,
}

impl Desk {
    async fn says(&self, by: Author, question: &Question, hash: &str, decision: Decision) {
        let ask = GateDecision { decision, hash: hash.to_owned(), reason: None, targets: Vec::new() };
        let said = match self.engine.decide_gate(&question.gate, ask, &by).await {
            Ok(_) => Ok(()),
            Err(EngineError::Refused { details: Some(details), .. }) => {
                Err(details["code"].as_str().unwrap_or("none").to_owned())
            }
            // Of a store that is gone with its server nobody knows what was written.
            Err(EngineError::Store(_)) => return,
            Err(other) => Err(format!("{other:?}")),
        };
        let (gate, hash) = (question.gate.clone(), hash.to_owned());
        let answer = Answer { gate, by, decision, hash, said, at: Instant::now() };
        if !self.deaf {
            self.book.answers.lock().unwrap().push(answer);
        }
    }

    async fn at_once(&self, question: &Question, two: [(&'static str, Decision); 2]) {
        let both = two.map(|(name, decision)| {
            let (desk, question) = (self.clone(), question.clone());
            tokio::spawn(async move { desk.says(person(name), &question, &question.hash, decision).await })
        });
        for one in both {
            // One that is gone with its server was not told anything.
            let _ = one.await;
        }
    }

    async fn play(&self, question: &Question) {
        use Decision::{Approve, Cancel, Rework};
        let hash = question.hash.as_str();
        match question.plot {
            Plot::Plain => self.says(person("bob"), question, hash, Approve).await,
            Plot::Twice => self.at_once(question, [("bob", Approve), ("bob", Approve)]).await,
            Plot::Two => self.at_once(question, [("bob", Approve), ("ann", Approve)]).await,
            Plot::Against => self.at_once(question, [("bob", Approve), ("ann", Cancel)]).await,
            Plot::SentBack => self.at_once(question, [("ann", Rework), ("bob", Approve)]).await,
            Plot::Changed => {
                let plan = question.workspace.as_ref().unwrap().join("plan.md");
                std::fs::write(plan, "# Plan\nand something nobody was shown\n").unwrap();
                self.says(person("bob"), question, hash, Approve).await;
                // They look again.
                let Ok(now) = self.engine.gate(&question.gate).await else { return };
                self.says(person("bob"), question, &now.gate.hash, Approve).await;
            }
            Plot::Own => {
                self.says(Author::agent(&question.agent, None), question, hash, Approve).await;
                self.says(person("eve"), question, hash, Approve).await;
                self.says(person("ann"), question, hash, Approve).await;
                self.says(person("bob"), question, hash, Approve).await;
            }
            Plot::Late => self.at_once(question, [("bob", Approve), ("ann", Cancel)]).await,
            Plot::Beside => {
                let other = question.other.as_deref().unwrap();
                self.says(person("bob"), question, other, Approve).await;
                self.says(person("bob"), question, hash, Approve).await;
            }
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    /// Decisions on record at a kill whose action had not begun.
    between: usize,
    /// Questions whose people lost their answer and asked again.
    unheard: usize,
}

struct Round {
    world: World,
    book: Arc<Book>,
    company: CompanyId,
    agents: Vec<AgentId>,
    questions: Vec<Question>,
    /// When a server was there, and when starts that were held were let go.
    starts: Vec<Instant>,
    figures: Figures,
}

impl Round {
    fn settings(world: &World) -> Settings {
        Settings { max_automation_runs: 48, ..world.settings() }
    }

    async fn play(world: World) {
        let (gates, kills) = measure();
        let book = Arc::new(Book::default());
        let kept = Arc::clone(&book);
        world.model.on_start(move |model, process, command| {
            let said = |name: &str| {
                command.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap()
            };
            let node = said("BUGLE_NODE_ID");
            let line = Line {
                run: said("BUGLE_AUTOMATION_RUN_ID"),
                node: node.clone(),
                attempt: said("BUGLE_NODE_ATTEMPT"),
                at: Instant::now(),
            };
            kept.ledger.lock().unwrap().push(line);
            if node == "draft"
                && command.cwd.file_name().is_some_and(|it| it.to_string_lossy().starts_with(WORK))
            {
                std::fs::write(command.cwd.join("plan.md"), "# Plan\n").unwrap();
            }
            model.say(process, &result("done"));
            model.exit(process, 0);
        });
        let mut server = Server::start(&world, Round::settings(&world)).await;
        let (company, agents) = {
            let world = world.clone();
            server.call(move |engine| async move { Round::people(&world, &engine).await }).await
        };
        let (starts, figures) = (vec![Instant::now()], Figures::default());
        let mut round = Round { world, book, company, agents, questions: Vec::new(), starts, figures };
        round.open(&server, gates).await;
        for stretch in 0..STRETCHES {
            round.world.clock.advance(6 * HOUR);
            let dies = stretch * kills / STRETCHES != (stretch + 1) * kills / STRETCHES;
            server = round.stretch(server, stretch, dies).await;
            round.quiet(&server).await;
            round.ask_anew(stretch).await;
            round.nothing_is_done_that_nobody_approved();
        }
        // What was sent back in the last stretch is asked once more.
        server = round.stretch(server, STRETCHES, false).await;
        round.check(&server, gates).await;
        server.kill(&round.world).await;
    }

    async fn people(world: &World, engine: &Engine) -> (CompanyId, Vec<AgentId>) {
        let company = world.company(engine).await;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let draft = engine::AgentDraft { name: format!("Agent{number}"), ..World::scripted(10) };
            agents.push(engine.create_agent(&company, draft, &Actor::local_board()).await.unwrap().id);
        }
        (company, agents)
    }

    /// Starts runs until so many gates are open, and looks at each.
    async fn open(&mut self, server: &Server, gates: usize) {
        let mut runs: Vec<(usize, Plot, AutomationRunId, Option<PathBuf>)> = Vec::new();
        let mut automations: BTreeMap<String, AutomationId> = BTreeMap::new();
        let mut count = 0;
        for number in 0.. {
            if count >= gates {
                break;
            }
            let plot = PLOTS[number % PLOTS.len()];
            count += if plot == Plot::Beside { 2 } else { 1 };
            let workspace = (plot == Plot::Changed).then(|| self.workspace(number));
            let agent = format!("Agent{}", number % AGENTS);
            let definition = definition(plot, &agent, workspace.as_ref().map(|path| (number, path)));
            let name = definition["name"].as_str().unwrap().to_owned();
            let (company, known) = (self.company.clone(), automations.get(&name).cloned());
            let launched = server.call(move |engine| async move {
                let automation = match known {
                    Some(known) => known,
                    None => {
                        let by = Author::local_board();
                        engine
                            .apply_automation(&company, &definition, false, &by)
                            .await
                            .unwrap()
                            .view
                            .automation
                            .id
                    }
                };
                let draft = LaunchDraft::default();
                let run = engine.run_automation(&company, &automation, draft, &person("ann")).await.unwrap();
                (automation, run.id)
            });
            let (automation, run) = launched.await;
            automations.insert(name, automation);
            runs.push((number, plot, run, workspace));
        }
        self.quiet(server).await;
        for (number, plot, run, workspace) in runs {
            let rows = self.gates_of(&run).await;
            assert_eq!(rows.len(), if plot == Plot::Beside { 2 } else { 1 }, "{plot:?}");
            for (place, row) in rows.iter().enumerate() {
                assert_eq!(row.status, GateStatus::Pending);
                let cycle = number / PLOTS.len();
                self.questions.push(Question {
                    plot,
                    run: run.clone(),
                    gate: row.id.clone(),
                    hash: row.hash.clone(),
                    other: rows.iter().find(|it| it.id != row.id).map(|it| it.hash.clone()),
                    action: if row.node_id == "other" { "act-other" } else { "act" },
                    // Those that expire are decided in the moment after, or long after it.
                    stretch: match plot {
                        Plot::Late => [3, STRETCHES - 1][cycle % 2],
                        _ => (number + place) % STRETCHES,
                    },
                    workspace: workspace.clone(),
                    agent: self.agents[0].clone(),
                    died: false,
                });
            }
        }
        assert_eq!(self.listed(server).await, self.ids(|_| true), "every open gate is listed");
    }

    /// A folder in which the step before the gate is to leave something.
    fn workspace(&self, number: usize) -> PathBuf {
        let folder = self.world.settings().data_dir.join(format!("{WORK}{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn ids(&self, so: impl Fn(&Question) -> bool) -> BTreeSet<GateId> {
        self.questions.iter().filter(|question| so(question)).map(|question| question.gate.clone()).collect()
    }

    /// The gates that wait, page by page.
    async fn listed(&self, server: &Server) -> BTreeSet<GateId> {
        let company = self.company.clone();
        let listed = server.call(move |engine| async move {
            let (mut all, mut after) = (BTreeSet::new(), (Moment::from_micros(0), String::new()));
            loop {
                let page = engine.gates(&company, after.clone(), 33).await.unwrap();
                let Some(last) = page.last() else { return all };
                after = (last.gate.asked_at, last.gate.id.as_str().to_owned());
                all.extend(page.into_iter().map(|view| view.gate.id));
            }
        });
        listed.await
    }

    /// People decide whatever is to be decided in this stretch, several gates at once, a handful after the other.
    async fn stretch(&mut self, mut server: Server, stretch: usize, dies: bool) -> Server {
        let of = |at: &usize| self.questions[*at].stretch == stretch;
        let mut due: Vec<usize> = (0..self.questions.len()).filter(of).collect();
        // What is late is decided first, before anything looked at it; a server dies over what can still be approved.
        due.sort_by_key(|at| (self.questions[*at].plot == Plot::Late) == dies);
        for (number, handful) in due.chunks(AT_ONCE).enumerate() {
            if dies && number == 0 {
                server = self.die_over(server, handful).await;
            } else {
                let playing: Vec<_> = handful.iter().map(|at| self.send(&server, *at, false)).collect();
                for one in playing {
                    one.await.unwrap();
                }
            }
            self.quiet(&server).await;
        }
        server
    }

    /// The server dies between decisions that are on record and what they lead to, while others are still being made.
    /// Some of those who decide do not hear their answer, and ask again.
    async fn die_over(&mut self, server: Server, handful: &[usize]) -> Server {
        self.world.model.hold_starts();
        let playing: Vec<_> = handful.iter().map(|at| self.send(&server, *at, at % 3 == 0)).collect();
        self.world
            .eventually("decisions on record", || async {
                (self.approved_of(handful).await >= 2).then_some(())
            })
            .await;
        server.kill(&self.world).await;
        self.figures.kills += 1;
        let begun = |at: &&usize| {
            let question = &self.questions[**at];
            self.book.lines(&question.run, question.action) > 0
        };
        assert_eq!(handful.iter().filter(begun).count(), 0, "starts are held");
        self.figures.between += self.approved_of(handful).await;
        // A start that was under way when the server died comes through now, before another server is there.
        self.starts.push(Instant::now());
        self.world.model.release_starts();
        self.world.clock.advance(Duration::from_secs(1));
        let server = Server::start(&self.world, Round::settings(&self.world)).await;
        self.starts.push(Instant::now());
        let mut again = Vec::new();
        for (at, one) in handful.iter().zip(playing) {
            self.questions[*at].died = true;
            if one.await.is_err() || self.book.won(&self.questions[*at].gate).is_none() {
                self.figures.unheard += 1;
                again.push(self.send(&server, *at, false));
            }
        }
        for one in again {
            one.await.unwrap();
        }
        server
    }

    /// How many of these gates are approved, as far as the store knows.
    async fn approved_of(&self, handful: &[usize]) -> usize {
        let mut approved = 0;
        for at in handful {
            let row = self.gate_row(&self.questions[*at].gate).await;
            approved += usize::from(row.decision == Some(Decision::Approve));
        }
        approved
    }

    /// Has a question decided; whoever is deaf never hears what came of it.
    fn send(&self, server: &Server, at: usize, deaf: bool) -> tokio::task::JoinHandle<()> {
        let (question, book) = (self.questions[at].clone(), Arc::clone(&self.book));
        server.send(move |engine| async move { Desk { engine, book, deaf }.play(&question).await })
    }

    /// Waits until runs wait for people only. However many there are, they have to become fewer.
    async fn quiet(&self, server: &Server) {
        server.engine().nudge();
        let mut least = usize::MAX;
        while least > 0 {
            let fewer = self.world.eventually("runs that go on", || async {
                let busy = self.busy().await;
                (busy < least).then_some(busy)
            });
            least = fewer.await;
        }
    }

    /// Runs at work, runs that wait for a place, and gates whose time is over.
    async fn busy(&self) -> usize {
        let now = engine::Clock::now(&*self.world.clock);
        self.world
            .read(move |tx| {
                Box::pin(async move {
                    let queued = runs::queued(
                        tx,
                        (i64::MIN, Moment::from_micros(0), ""),
                        Moment::from_micros(i64::MAX),
                        10_000,
                    )
                    .await?
                    .len();
                    let due = gates::due(tx, now, 10_000).await?.len();
                    Ok(queued + due + runs::at_work(tx).await?.len())
                })
            })
            .await
    }

    /// A question that was sent back is there again, as another one.
    async fn ask_anew(&mut self, stretch: usize) {
        let sent_back = |it: &&Question| it.plot == Plot::SentBack && it.stretch == stretch;
        for question in self.questions.iter().filter(sent_back).cloned().collect::<Vec<_>>() {
            let rows = self.gates_of(&question.run).await;
            let [first, rest @ ..] = rows.as_slice() else { panic!("no gate: {question:?}") };
            assert_eq!((&first.id, first.status), (&question.gate, GateStatus::Decided));
            let is_back = first.decision == Some(Decision::Rework);
            assert_eq!(rest.len(), usize::from(is_back), "{rows:?}");
            for row in rest {
                assert_eq!(row.status, GateStatus::Pending, "a decision is about one gate");
                let (gate, hash) = (row.id.clone(), row.hash.clone());
                let stretch = stretch + 1;
                self.questions.push(Question {
                    plot: Plot::Plain,
                    gate,
                    hash,
                    stretch,
                    died: false,
                    ..question.clone()
                });
            }
        }
    }

    fn nothing_is_done_that_nobody_approved(&self) {
        for line in self.book.ledger().iter().filter(|line| line.node.starts_with("act")) {
            let of = |it: &&Question| it.run.as_str() == line.run && it.action == line.node;
            let asked: Vec<&Question> = self.questions.iter().filter(of).collect();
            // Of a decision whose answer was lost the row tells, at the end.
            assert!(
                asked.iter().any(|it| it.died || self.book.approved(&it.gate)),
                "done and not approved: {line:?} {asked:?}"
            );
        }
    }

    async fn gate_row(&self, id: &GateId) -> GateRow {
        let id = id.clone();
        let read = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { gates::get(tx, &id).await })
        });
        read.await.unwrap()
    }

    async fn gates_of(&self, run: &AutomationRunId) -> Vec<GateRow> {
        let id = run.clone();
        let read = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { gates::of_run(tx, &id, 100).await })
        });
        read.await
    }

    async fn run(&self, run: &AutomationRunId) -> (AutomationRun, Vec<Entry>) {
        let id = run.clone();
        let read = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let run = runs::get(tx, &id).await?;
                Ok((run, history::after(tx, &id, 0, 10_000).await?))
            })
        });
        let (run, entries) = read.await;
        (run.unwrap(), entries)
    }

    async fn check(&self, server: &Server, gates: usize) {
        assert!(self.questions.len() >= gates);
        assert_eq!(self.listed(server).await, BTreeSet::new(), "nothing waits any more");
        let mut distinct = BTreeSet::new();
        for line in self.book.ledger() {
            let is_new = distinct.insert((line.run.clone(), line.node.clone(), line.attempt.clone()));
            assert!(is_new, "done twice: {line:?}");
        }
        let audited = self.audited().await;
        let (mut approved, mut times) = (0, Vec::new());
        for question in &self.questions {
            let row = self.gate_row(&question.gate).await;
            let (run, entries) = self.run(&question.run).await;
            self.check_answers(question, &row);
            let told = |event: &str| {
                let of = |it: &&Entry| {
                    it.event == event
                        && it.metadata.as_ref().is_some_and(|it| it["gateId"] == json!(question.gate))
                };
                entries.iter().filter(of).count()
            };
            let actions = self.book.lines(&question.run, question.action);
            if question.plot == Plot::Late {
                assert_eq!((row.status, row.decision), (GateStatus::Expired, None), "never decided");
                assert_eq!(row.decided_by_kind, Some(ActorKind::System));
                assert_eq!((told("gate_expired"), told("gate_decided"), actions), (1, 0, 0), "{entries:?}");
                assert_eq!(run.status, AutomationRunStatus::Cancelled);
                assert!(run.detail.as_deref().unwrap().contains("retry it to ask again"), "{run:?}");
                assert!(!format!("{entries:?}{run:?}{row:?}").to_lowercase().contains("denied"));
                continue;
            }
            assert_eq!(row.status, GateStatus::Decided, "{question:?}");
            assert_eq!((told("gate_decided"), told("gate_expired")), (1, 0), "{entries:?}");
            assert_eq!(audited.get(&question.gate), Some(&1), "one record of one decision");
            assert_eq!(told("gate_changed"), usize::from(question.plot == Plot::Changed), "{entries:?}");
            let (status, wanted) = match row.decision.unwrap() {
                // What was sent back was asked again, and approved.
                Decision::Approve | Decision::Rework => (AutomationRunStatus::Completed, 1),
                Decision::Cancel => (AutomationRunStatus::Cancelled, 0),
            };
            assert_eq!((run.status, actions), (status, wanted), "{question:?} {entries:?}");
            if row.decision == Some(Decision::Approve) {
                approved += 1;
                times.push(self.waited(question));
            }
        }
        times.sort_unstable();
        let slowest = *times.last().unwrap();
        let in_time = times.iter().filter(|time| **time <= STARTED_WITHIN).count();
        let chain = self.world.read(|tx| Box::pin(async move { store::audit::verify(tx, None).await })).await;
        assert!(chain.ok, "{chain:?}");
        eprintln!(
            "{} gates, {} kills, {} decisions between record and effect then, {} asked again; {approved} approved, \
             {in_time} of them begun within 2 s, half within {:?}, all within {slowest:?}; {} answers",
            self.questions.len(),
            self.figures.kills,
            self.figures.between,
            self.figures.unheard,
            times[times.len() / 2],
            self.book.answers().len(),
        );
        assert_eq!(times.len(), approved);
        assert!(slowest <= within(STARTED_WITHIN), "an action began {slowest:?} after it was approved");
        assert!(self.figures.unheard >= self.figures.kills, "{:?}", self.figures);
        assert!(self.figures.between >= 2 * self.figures.kills, "{:?}", self.figures);
    }

    /// What people were told is what is on record.
    fn check_answers(&self, question: &Question, row: &GateRow) {
        let answers: Vec<Answer> =
            self.book.answers().into_iter().filter(|it| it.gate == question.gate).collect();
        let won: Vec<&Answer> = answers.iter().filter(|it| it.said.is_ok()).collect();
        let mut refused: Vec<&str> =
            answers.iter().filter_map(|it| it.said.as_ref().err().map(String::as_str)).collect();
        refused.sort_unstable();
        match won.as_slice() {
            [one] => {
                let by = (row.decision, row.decided_by.clone());
                assert_eq!(by, (Some(one.decision), one.by.user_id()), "{question:?}");
                assert_eq!(row.hash, one.hash, "decided about what was shown: {question:?}");
                let is_same = one.hash == question.hash;
                assert_eq!(is_same, question.plot != Plot::Changed, "{question:?}");
            }
            // Whoever won never heard of it, and was told when asking again.
            [] if question.plot == Plot::Late => {}
            [] => assert!(question.died && refused.contains(&"gate_already_decided"), "{answers:?}"),
            _ => panic!("two decisions won: {answers:?}"),
        }
        if question.died {
            let known = ["gate_already_decided", "gate_expired", "stale"];
            let rights = ["gate_not_allowed", "gate_requires_human", "gate_self_approval"];
            let is_known = |it: &&&str| known.contains(*it) || rights.contains(*it);
            assert_eq!(refused.iter().filter(is_known).count(), refused.len(), "{answers:?}");
            return;
        }
        let expected: &[&str] = match question.plot {
            Plot::Plain => &[],
            Plot::Twice | Plot::Two | Plot::Against | Plot::SentBack => &["gate_already_decided"],
            Plot::Changed | Plot::Beside => &["stale"],
            Plot::Own => &["gate_not_allowed", "gate_requires_human", "gate_self_approval"],
            Plot::Late => &["gate_expired", "gate_expired"],
        };
        assert_eq!(refused, expected, "{question:?}");
    }

    /// To the first action: from the answer, or from the moment from which on it could begin, whichever is later.
    fn waited(&self, question: &Question) -> Duration {
        let ledger = self.book.ledger();
        let of = |it: &&Line| it.run == question.run.as_str() && it.node == question.action;
        let began = ledger.iter().find(of).unwrap().at;
        let answered = self.book.won(&question.gate).map(|answer| answer.at);
        let started = self.starts.iter().filter(|at| **at <= began).max().copied();
        began.saturating_duration_since(answered.max(started).unwrap())
    }

    /// How often the audit chain has a decision of each gate.
    async fn audited(&self) -> BTreeMap<GateId, usize> {
        let (mut audited, mut after) = (BTreeMap::new(), 0);
        loop {
            let page = self.world.read(move |tx| Box::pin(store::audit::page(tx, after, 1_000))).await;
            let Some(last) = page.last() else { return audited };
            after = last.seq;
            for record in page.into_iter().filter(|it| it.action == "automation.gate_decided") {
                let details: Json = serde_json::from_str(&record.details).unwrap();
                *audited.entry(GateId::from(details["gateId"].as_str().unwrap())).or_insert(0) += 1;
            }
        }
    }
}

/// A run for a plot: what is decided about, and what is done then.
fn definition(plot: Plot, agent: &str, workspace: Option<(usize, &PathBuf)>) -> Json {
    let step = |id: &str, before: &[&str]| {
        let mut step = crate::automations::step(id, before);
        step["agent"] = json!(agent);
        step
    };
    let asks = |id: &str, before: &[&str], gate: Json| json!({ "id": id, "dependsOn": before, "gate": gate });
    let name = format!("{plot:?}-{agent}");
    match plot {
        Plot::Plain | Plot::Twice | Plot::Two | Plot::Against => json!({
            "name": name, "nodes": [asks("ok", &[], json!({})), step("act", &["ok"])],
        }),
        Plot::SentBack => json!({
            "name": name,
            "nodes": [step("draft", &[]), asks("ok", &["draft"], json!({})), step("act", &["ok"])],
        }),
        Plot::Changed => {
            let (number, folder) = workspace.unwrap();
            let mut draft = step("draft", &[]);
            draft["output"] = json!({ "files": ["plan.md"] });
            json!({
                "name": format!("{name}-{number}"), "workspace": folder,
                "nodes": [draft, asks("ok", &["draft"], json!({})), step("act", &["ok"])],
            })
        }
        Plot::Own => {
            let gate = json!({ "selfApproval": false, "approvers": ["ann", "bob"] });
            json!({ "name": name, "nodes": [asks("ok", &[], gate), step("act", &["ok"])] })
        }
        Plot::Late => {
            let gate = json!({ "expiry": { "expiresAfterSec": EXPIRES_SEC, "onExpiry": "cancel" } });
            json!({ "name": name, "nodes": [asks("ok", &[], gate), step("act", &["ok"])] })
        }
        Plot::Beside => json!({
            "name": name,
            "nodes": [
                asks("ok", &[], json!({})), asks("other", &[], json!({})), step("act", &["ok"]),
                step("act-other", &["other"]),
            ],
        }),
    }
}
