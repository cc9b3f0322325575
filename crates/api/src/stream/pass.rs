//! The right to go on listening. A stream lives for days, and a key may be revoked, a person sent away, a run end or a
//! company be deleted meanwhile: so the door is asked again now and then with what the stream was opened with.

use std::sync::Arc;

use domain::access::guard::Access;
use domain::ids::CompanyId;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::ApiState;
use crate::actor::caller_with;
use crate::errors::ApiError;
use crate::lookup;

/// What a stream was opened with.
#[derive(Debug)]
pub(super) struct Pass {
    state: ApiState,
    token: Option<Arc<str>>,
    company: CompanyId,
    due: Interval,
}

impl Pass {
    /// `token`: the credential of the request, where it carried one.
    pub(super) fn new(state: &ApiState, token: Option<&str>, company: CompanyId) -> Pass {
        let every = state.options.recheck_every;
        let mut due = interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pass { state: state.clone(), token: token.map(Arc::from), company, due }
    }

    /// Waits until it is time to look again. The look itself is not part of the wait: on a busy stream a look that may be
    /// interrupted would never come to its end.
    pub(super) async fn due(&mut self) {
        self.due.tick().await;
    }

    /// Looks again: why nobody may listen with this any more, or `None`. A store that does not answer says nothing.
    pub(super) async fn lost(&self) -> Option<ApiError> {
        self.check().await.err().filter(ApiError::is_refusal)
    }

    async fn check(&self) -> Result<(), ApiError> {
        let caller = caller_with(&self.state, self.token.as_deref(), None, Access::Read).await?;
        lookup::company(&self.state.engine, &caller, self.company.as_str()).await?;
        Ok(())
    }
}

/// What a client is told before it is let go.
pub(super) fn farewell(error: &ApiError) -> Value {
    json!({ "error": error.text() })
}
