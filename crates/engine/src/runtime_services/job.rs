//! Jobs: commands of a workspace that are run once, to their end, and the record of what was done to it.
//!
//! A job is the row of a service that is nobody else's, and names the operation it is recorded by; both are written in
//! one commit. Its process outlives the server, is stopped like a service, and its end is written by the sweep
//! that sees it, with the operation.

use std::sync::Arc;
use std::time::Duration;

use domain::environment::runtime_service::{ServiceSpec, ServiceStatus};
use domain::environment::workspace_command::Choice;
use domain::workspace::{OperationStatus, Phase};
use serde_json::json;
use store::runtime_services::RuntimeService;
use store::workspace_operations::{self as operations, End, WorkspaceOperation};

use super::{ServiceAction, ServiceHome, process_of, start};
use crate::activity::Author;
use crate::issues::Locks;
use crate::processes::beside;
use crate::workspaces::commands;
use crate::{Engine, EngineError, FrameStream, Inner};

/// Whoever asked waits so long for the end of a job; then the operation says that it goes on.
const WAITED_FOR: Duration = Duration::from_secs(10);
/// Nothing takes for ever.
pub(crate) const WALL: Duration = Duration::from_secs(1_800);
/// The end of what it printed that is kept (spec/heartbeat.md 4.7).
const KEPT: usize = 256 << 10;

/// Jobs under a keeper of this program; services have another word.
const PROVIDER: &str = "local_job";

/// It is a job and no service.
pub(crate) fn is_one(service: &RuntimeService) -> bool {
    service.provider == PROVIDER
}

/// The operation that a job is recorded by.
pub(crate) fn operation_of(service: &RuntimeService) -> Option<&str> {
    service.provider_ref.as_deref().filter(|_| is_one(service))
}

impl Engine {
    /// Runs a job. Returns its operation: when the job is over, or after a while.
    pub(super) async fn run_job(
        &self,
        home: &ServiceHome,
        job: &ServiceSpec,
        by: &Author,
    ) -> Result<WorkspaceOperation, EngineError> {
        let mut service = self.drafted_service(home, job, by)?;
        let mut operation = self.drafted_operation(home, ServiceAction::Run, by);
        operation.command = service.command.clone();
        operation.cwd = service.cwd.clone();
        operation.metadata = Some(json!({
            "action": ServiceAction::Run.as_str(), "workspaceCommandId": job.id, "name": job.name,
            "projectWorkspaceId": home.project_workspace, "runtimeServiceId": service.id,
        }));
        PROVIDER.clone_into(&mut service.provider);
        service.provider_ref = Some(operation.id.clone());
        let (id, done) = (service.id.clone(), operation.id.clone());
        let context = (service, operation);
        let begun =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (service, operation)| {
                Box::pin(async move {
                    start(tx, &mut scribe, service, ServiceAction::Run).await?;
                    Ok(operations::begin(tx, &operation).await?)
                })
            });
        begun.await?;
        self.inner.services.notify_one();
        self.wait_until_over(&id).await?;
        Ok(self.workspace_operation(&done).await?.0)
    }

    /// Waits until a job is over, within bounds.
    async fn wait_until_over(&self, id: &str) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + WAITED_FOR;
        loop {
            let rung = self.inner.services_changed.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if self.load_service(id).await?.is_none_or(|service| !service.status.is_live()) {
                return Ok(());
            }
            tokio::select! {
                () = &mut rung => {}
                () = self.inner.leaving.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            }
        }
    }

    fn drafted_operation(
        &self,
        home: &ServiceHome,
        action: ServiceAction,
        by: &Author,
    ) -> WorkspaceOperation {
        let phase = if action == ServiceAction::Stop { Phase::Teardown } else { Phase::Provision };
        WorkspaceOperation {
            id: self.new_id(),
            company_id: home.company.clone(),
            execution_workspace_id: home.execution_workspace.clone(),
            run_id: by.run_id(),
            phase: phase.as_str().to_owned(),
            command: None,
            cwd: home.cwd.clone(),
            status: OperationStatus::Running.as_str().to_owned(),
            exit_code: None,
            log_bytes: None,
            stdout_excerpt: None,
            stderr_excerpt: None,
            metadata: None,
            started_at: self.now(),
            finished_at: None,
        }
    }

    /// Records that services were started or stopped: that it was asked for, which their rows tell the rest of.
    pub(super) async fn note_action(
        &self,
        home: &ServiceHome,
        action: ServiceAction,
        choice: &Choice,
        by: &Author,
    ) -> Result<WorkspaceOperation, EngineError> {
        let mut operation = self.drafted_operation(home, action, by);
        let which = choice.started.as_ref().or(choice.command.as_ref());
        operation.metadata = Some(json!({
            "action": action.as_str(), "workspaceCommandId": which, "serviceIndex": choice.index,
            "projectWorkspaceId": home.project_workspace,
        }));
        let (id, now) = (operation.id.clone(), self.now());
        let end = End {
            status: OperationStatus::Succeeded,
            exit_code: None,
            log: String::new(),
            stdout_excerpt: None,
            stderr_excerpt: None,
        };
        let noted = self.inner.write((operation, end), move |tx, (operation, end)| {
            Box::pin(async move {
                operations::begin(tx, &operation).await?;
                operations::finish(tx, &operation.id, &end, now).await
            })
        });
        noted.await?;
        Ok(self.workspace_operation(&id).await?.0)
    }
}

/// What is written of the end of a job.
pub(crate) async fn end_of(
    engine: &Arc<Inner>,
    service: &RuntimeService,
    status: ServiceStatus,
    exit_code: Option<i64>,
    words: Option<&str>,
) -> End {
    let (inner, process) = (Arc::clone(engine), process_of(service));
    let read = beside(&engine.processes, move || printed(&inner, &process)).await;
    let (out, mut err) = read.unwrap_or_default();
    let did_well = status == ServiceStatus::Stopped && exit_code == Some(0);
    if !did_well {
        let words = words.unwrap_or("it was stopped");
        err.push_str(&format!("[bugle] {words}\n"));
    }
    End {
        status: if did_well { OperationStatus::Succeeded } else { OperationStatus::Failed },
        exit_code,
        stdout_excerpt: commands::excerpt(&out),
        stderr_excerpt: commands::excerpt(&err),
        log: format!("{out}{err}"),
    }
}

/// The end of what a process printed, of each stream.
fn printed(engine: &Inner, process: &crate::ProcessId) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let Ok(mut log) = engine.processes.log(process, 0) else { return (String::new(), String::new()) };
    while let Ok(Some(frame)) = log.next() {
        let stream = match frame.stream {
            FrameStream::Stdout => &mut out,
            FrameStream::Stderr => &mut err,
            FrameStream::Stdin | FrameStream::Keeper => continue,
        };
        stream.extend_from_slice(&frame.bytes);
        if stream.len() > 2 * KEPT {
            stream.drain(..stream.len() - KEPT);
        }
    }
    let end = |bytes: &[u8]| commands::plain(&bytes[bytes.len().saturating_sub(KEPT)..]);
    (end(&out), end(&err))
}
