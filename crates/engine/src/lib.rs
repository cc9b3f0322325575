//! The shell around the decisions: load, decide, apply, ring.
//!
//! [`Engine`] is what the API talks to: it takes wakes in, starts and tends the processes of runs, settles their ends,
//! and keeps the sweeps going that re-derive every rule from stored state. It holds no SQL and no HTTP, and decides
//! nothing that `domain` could decide. Memory holds only handles and hints: an engine that is killed at any instant loses
//! nothing, and the next one goes on.

mod accounts;
mod activity;
mod agent_defaults;
mod agents;
mod approvals;
mod attempts;
mod automations;
mod breaker;
mod budgets;
mod claims;
mod companies;
mod company_file;
mod config_history;
mod dashboard;
mod digest;
mod dispatcher;
mod doorbell;
pub mod environments;
mod error;
mod explain;
mod feed;
mod gates;
mod held_texts;
mod hello;
mod hiring;
mod inbox;
mod instructions;
mod intake;
mod interactions;
mod issue_views;
pub mod issues;
mod keepers;
mod monthly;
mod orders;
mod people;
mod permissions;
mod processes;
mod progress;
mod projects;
mod promotions;
mod removal;
mod resuming;
mod run_task;
mod run_tokens;
mod runtime_services;
mod schedules;
mod secrets;
mod sessions;
mod settings;
mod settlement;
mod signals;
mod skills;
mod slots;
mod stops;
mod sweeps;
mod task_scope;
mod transcript;
mod tree;
mod turns;
mod unwritten;
mod verdicts;
mod wakes;
mod watchdog;
mod webhooks;
mod workspaces;
mod world;
mod writes;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::{CompanyId, RunId};
use domain::moment::Moment;
use store::Store;
use store::leases::Claimer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use accounts::{AccountPatch, AccountView};
pub use activity::{ActivityDraft, ActivityFilter, Author, MOST_ACTIVITY};
pub use agents::{AgentDraft, AgentPatch};
pub use approvals::{APPROVAL_KINDS, ApprovalDraft, ApprovalVerdict, MOST_APPROVALS};
pub use automations::{
    Admissions, Applied, Asked, AutomationView, Change, GateDecision, GateView, LaunchDraft,
    MOST_AUTOMATIONS, MOST_GATES, MOST_RUNS, Preview, RunView as AutomationRunView, StepOf, StepWait,
    event_type as automation_event_type,
};
pub use budgets::{BudgetOverview, CostReport, IncidentSummary, PolicySummary, Shortage, WindowSpend};
pub use companies::{CompanyPatch, CompanyStats};
pub use company_file::{AppliedFile, ApplyAsk};
pub use config_history::RolledBack;
pub use dashboard::{Badges, Dashboard, DayOfRuns};
pub use error::EngineError;
pub use explain::{Explanation, Held, Holder, Transition};
pub use feed::{Happening, Heard, LogPiece, Subscription, raw_payload};
pub use gates::{AnyGate, GateAnswer};
pub use held_texts::{Provenance, author_of as author_of_text};
pub use hiring::AgentAccess;
pub use inbox::{Inbox, MOST_ITEMS};
pub use instructions::{Instructions, InstructionsFile, InstructionsText};
pub use intake::body_hash;
pub use interactions::{InteractionDraft, KINDS as INTERACTION_KINDS, Reply};
pub use keepers::Keepers;
pub use people::{ChallengeDraft, ChallengeView, MadeKey, NewChallenge, hash as key_hash};
pub use processes::{
    ExitFacts, Frame, FrameStream, LogSource, ProcessError, ProcessId, Processes, Seen, TreeUsage,
};
pub use projects::{
    GoalDraft, GoalPatch, MOST_PROJECTS, ProjectCard, ProjectDraft, ProjectPatch, WorkspaceDraft,
};
pub use runtime_services::{Acted, MOST_SERVICES, ServiceAction, ServiceChoice, ServiceHome};
pub use schedules::{MOST_PREVIEW, MOST_SCHEDULES_LISTED, MOST_SLOTS, ScheduleView};
pub use secrets::{
    Hidden, KEY_FILE, LOCAL_PROVIDER, MOST_SECRETS, PROVIDERS, SecretDraft, SecretPatch, SecretValue,
    VaultError, look_at_key,
};
pub use settings::Settings;
pub use skills::{AgentSkill, AgentSkills, MOST_SKILLS, SkillDraft};
pub use stops::StopReport;
pub use sweeps::recovery::Recovery;
pub use transcript::{Clipped, Item, Mark, ToolResult, TranscriptPage, What};
pub use tree::{HeldTree, HoldFilter, MOST_ISSUES, PreviewedIssue, TreeOperation, TreePreview};
pub use wakes::{Skipped, Woken};
pub use watchdog::WatchdogVerdict;
pub use webhooks::{
    Doorway, EndpointDraft, EndpointPatch, Incoming, Knock, MOST_DELIVERIES, MOST_ENDPOINTS, MOST_RECEIPTS,
    MOST_TRIGGERS, MadeTrigger, OVERLAP as WEBHOOK_OVERLAP, Received, Reception, TriggerDraft, TriggerPatch,
    TriggerView, WithSecret,
};
pub use workspaces::{ClosingReport, ExecutionWorkspacePatch, MOST_WORKSPACES};
pub use world::{Clock, Dice, SystemClock, SystemDice};

use doorbell::Doorbell;
use feed::Feed;
use run_tokens::RunTokens;
use slots::Slots;

/// The engine of one server. Cloning gives another handle to the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) processes: Arc<dyn Processes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) settings: Settings,
    pub(crate) claimer: Claimer,
    pub(crate) tokens: RunTokens,
    pub(crate) vault: secrets::vault::Vault,
    /// What tells accounts at providers apart.
    pub(crate) keyring: accounts::Keyring,
    /// Refusals of runs' tokens that were written down.
    pub(crate) refused_tokens: Mutex<task_scope::Refused>,
    pub(crate) doorbell: Doorbell,
    pub(crate) budgets: budgets::upkeep::Bells,
    pub(crate) automations: automations::Bells,
    pub(crate) feed: Feed,
    pub(crate) transcripts: transcript::Sittings,
    /// One change at a time for each git repository.
    pub(crate) repositories: workspaces::Repositories,
    /// One file at a time is applied to a company.
    pub(crate) company_files: turns::Turns<domain::ids::CompanyId>,
    /// Places for processes on this node.
    pub(crate) slots: Arc<Slots>,
    /// Runs that this engine tends: handles, not truth.
    pub(crate) tended: Mutex<BTreeMap<RunId, Arc<run_task::Handle>>>,
    pub(crate) timers: Notify,
    pub(crate) retries: Notify,
    /// A run may have waited too long.
    pub(crate) expiry: Notify,
    pub(crate) housekeeping: Notify,
    pub(crate) stop_orders: Notify,
    /// Wakes were ordered.
    pub(crate) orders: Notify,
    /// A pause, a hold or a budget was lifted: deferred wakes may go on.
    pub(crate) deferrals: Notify,
    pub(crate) dependents: Notify,
    pub(crate) orphans: Notify,
    /// An issue may have been left by everybody.
    pub(crate) stranded: Notify,
    pub(crate) graph: Notify,
    pub(crate) silence: Notify,
    /// An account was parked, or somebody may go on with one.
    pub(crate) accounts: Notify,
    /// A run is over: its lease on an environment may be given back.
    pub(crate) environments: Notify,
    /// A service is to be looked at.
    pub(crate) services: Arc<Notify>,
    /// A service has become something else.
    pub(crate) services_changed: Notify,
    /// A person touched what agents went around in a circle about.
    pub(crate) circles: Notify,
    /// A workspace may go.
    pub(crate) places: Notify,
    /// A company was deleted: what it left is to be removed.
    pub(crate) leftovers: Notify,
    /// An endpoint was changed, or something is to be sent to one.
    pub(crate) webhooks: Notify,
    /// How many requests from outside may still come.
    pub(crate) allowances: webhooks::receiving::Allowances,
    /// Somebody asked to stop a run whose task was not there: the next task that comes has the record looked at again.
    pub(crate) stop_unheard: AtomicBool,
    pub(crate) recovery: Mutex<Recovery>,
    /// No work is taken in any more.
    pub(crate) closing: CancellationToken,
    /// The tasks are to leave; processes go on.
    pub(crate) leaving: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Engine {
    /// Registers a start of the server and sets its sweeps going, with nobody to wait for in between.
    pub async fn start(
        store: Arc<Store>,
        processes: Arc<dyn Processes>,
        clock: Arc<dyn Clock>,
        dice: Arc<dyn Dice>,
        settings: Settings,
    ) -> Result<Engine, EngineError> {
        let engine = Engine::prepare(store, processes, clock, dice, settings).await?;
        engine.begin();
        Ok(engine)
    }

    /// Registers a start of the server, and does nothing by itself before [`Engine::begin`]: the caller listens first, so
    /// that whoever asks does not wait for what a start finds to do. [`Engine::recovery`] says how far that is.
    pub async fn prepare(
        store: Arc<Store>,
        processes: Arc<dyn Processes>,
        clock: Arc<dyn Clock>,
        dice: Arc<dyn Dice>,
        settings: Settings,
    ) -> Result<Engine, EngineError> {
        let boot_id = processes.boot_id();
        let (node, boot, version) = (settings.node_id.clone(), boot_id.clone(), settings.version.clone());
        let now = clock.now();
        let is_shared = store.is_postgres();
        let (holder, going_on) = store
            .write(move |tx| {
                let (node, boot, version) = (node.clone(), boot.clone(), version.clone());
                Box::pin(async move {
                    if !is_shared {
                        store::leases::inherit(tx, &node).await?;
                    }
                    let holder = store::leases::incarnate(tx, &node, &boot, &version, now).await?;
                    // What goes on has its places before anything new may take one.
                    Ok((holder, store::leases::count_held(tx, &node).await?))
                })
            })
            .await?;
        let claimer = Claimer { holder, node_id: settings.node_id.clone(), boot_id };
        let tokens = RunTokens::draw(&*dice);
        let here = (&settings.host, settings.node_id.as_str());
        let keyring = accounts::Keyring::load(&store, &*dice, here, now).await?;
        let inner = Arc::new(Inner {
            store,
            processes,
            clock,
            dice,
            claimer,
            tokens,
            vault: secrets::vault::Vault::new(settings.secrets_key_file()),
            keyring,
            refused_tokens: Mutex::default(),
            doorbell: Doorbell::default(),
            budgets: budgets::upkeep::Bells::default(),
            automations: automations::Bells::default(),
            feed: Feed::new(),
            transcripts: transcript::Sittings::default(),
            repositories: workspaces::Repositories::default(),
            company_files: turns::Turns::default(),
            slots: Arc::new(Slots::new(settings.max_runs, going_on)),
            tended: Mutex::default(),
            timers: Notify::new(),
            retries: Notify::new(),
            expiry: Notify::new(),
            housekeeping: Notify::new(),
            stop_orders: Notify::new(),
            orders: Notify::new(),
            deferrals: Notify::new(),
            dependents: Notify::new(),
            orphans: Notify::new(),
            stranded: Notify::new(),
            graph: Notify::new(),
            silence: Notify::new(),
            accounts: Notify::new(),
            environments: Notify::new(),
            services: Arc::default(),
            services_changed: Notify::new(),
            circles: Notify::new(),
            places: Notify::new(),
            leftovers: Notify::new(),
            webhooks: Notify::new(),
            allowances: webhooks::receiving::Allowances::default(),
            stop_unheard: AtomicBool::new(false),
            recovery: Mutex::default(),
            closing: CancellationToken::new(),
            leaving: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings,
        });
        Ok(Engine { inner })
    }

    /// Sets going what the engine does by itself: once, behind [`Engine::prepare`].
    pub fn begin(&self) {
        sweeps::start(&self.inner);
    }

    /// The store, for reading.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    /// The time, as the engine sees it.
    pub fn now(&self) -> Moment {
        self.inner.clock.now()
    }

    /// A new id, random and time-ordered.
    pub fn new_id(&self) -> String {
        domain::ids::mint(self.inner.clock.now(), self.inner.dice.bytes())
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// How far the recovery after the start is.
    pub fn recovery(&self) -> Recovery {
        self.inner.recovery.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many processes this node runs, and how many it may.
    pub fn capacity(&self) -> (u32, u32) {
        self.inner.slots.load()
    }

    /// What runs of automations this server let begin, and how long they had waited.
    pub fn automation_admissions(&self) -> automations::Admissions {
        self.inner.automations.admissions.so_far()
    }

    /// Follows the events of a company after a cursor; `None` = from now on.
    pub async fn subscribe(
        &self,
        company: &CompanyId,
        after: Option<i64>,
    ) -> Result<Subscription, EngineError> {
        let Inner { store, feed, leaving, .. } = &*self.inner;
        Subscription::open(Arc::clone(store), feed, leaving.clone(), company.clone(), after).await
    }

    /// Opens the log of a run's current process at an offset.
    pub fn log(&self, run: &RunId, epoch: i64, offset: u64) -> Result<Box<dyn LogSource>, ProcessError> {
        self.inner.processes.log(&ProcessId { run: run.clone(), epoch }, offset)
    }

    /// A bell that rings when the log of a run may have grown; `None` when nobody tends it here.
    pub fn log_bell(&self, run: &RunId) -> Option<Arc<Notify>> {
        self.inner.handle_of(run).map(|handle| handle.log_bell())
    }

    /// Makes every sweep look now: the clock was moved, or somebody does not want to wait for a period.
    pub fn nudge(&self) {
        self.inner.timers.notify_one();
        self.inner.retries.notify_one();
        self.inner.expiry.notify_one();
        self.inner.housekeeping.notify_one();
        self.inner.stop_orders.notify_one();
        self.inner.orders.notify_one();
        self.inner.deferrals.notify_one();
        self.inner.dependents.notify_one();
        self.inner.orphans.notify_one();
        self.inner.stranded.notify_one();
        self.inner.graph.notify_one();
        self.inner.silence.notify_one();
        self.inner.accounts.notify_one();
        self.inner.circles.notify_one();
        self.inner.places.notify_one();
        self.inner.leftovers.notify_one();
        self.inner.webhooks.notify_one();
        self.inner.environments.notify_one();
        self.inner.services.notify_one();
        self.inner.nudge_tasks();
        self.inner.budgets.ring();
        self.inner.automations.ring();
        self.inner.doorbell.ring_all();
        self.inner.feed.ring();
    }

    /// The engine is going down; streams end then.
    pub fn leaving(&self) -> CancellationToken {
        self.inner.leaving.clone()
    }

    /// Stops taking work in and leaves; processes go on and are taken over by the next start.
    pub async fn leave(&self) {
        automations::leave(&self.inner).await;
        self.inner.closing.cancel();
        self.inner.leaving.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    pub(crate) fn handle_of(&self, run: &RunId) -> Option<Arc<run_task::Handle>> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    /// Has every task look at its run.
    fn nudge_tasks(&self) {
        for handle in self.tended.lock().unwrap_or_else(PoisonError::into_inner).values() {
            handle.nudge();
        }
    }

    pub(crate) fn tends_nothing(&self) -> bool {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn refuse_when_closing(&self) -> Result<(), EngineError> {
        if self.closing.is_cancelled() { Err(EngineError::Closing) } else { Ok(()) }
    }
}
