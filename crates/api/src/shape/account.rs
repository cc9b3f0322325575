//! Accounts at providers, on the wire.

use domain::account::Standing;
use domain::moment::Moment;
use engine::AccountView;
use serde::Serialize;
use utoipa::ToSchema;

/// A login or key at a provider, and what keeps runs from starting on it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    id: String,
    company_id: String,
    provider: String,
    /// Where the login lies, or which variable holds the key; never the credential.
    label: String,
    /// `open`, `parked`, `probing` or `resuming`.
    state: &'static str,
    /// `quota`, `login`, `failures` or `person`; null when it is not parked.
    reason: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    parked_at: Option<Moment>,
    /// When one run tries it again; null when somebody has to do something first.
    #[schema(value_type = Option<String>)]
    parked_until: Option<Moment>,
    /// In words, what is waited for.
    waits_for: Option<String>,
    /// It goes on by itself when a limit is over; else somebody is asked.
    auto_resume: bool,
    /// The run that tries it.
    probe_run_id: Option<String>,
    /// The last reset that the provider named.
    #[schema(value_type = Option<String>)]
    last_reset_at: Option<Moment>,
    last_error: Option<String>,
    /// The agents that use it now.
    agents: Vec<AccountAgent>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// An agent that uses an account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountAgent {
    id: String,
    name: String,
}

impl From<AccountView> for Account {
    fn from(view: AccountView) -> Account {
        let AccountView { stored, agents, waits_for } = view;
        let park = stored.account.park();
        Account {
            state: stored.account.state().as_str(),
            reason: park.map(|park| park.why.as_str()),
            parked_at: park.map(|park| park.since),
            parked_until: park.and_then(|park| park.until),
            waits_for,
            auto_resume: stored.account.auto_resume,
            probe_run_id: match &stored.account.standing {
                Standing::Probing { run, .. } => Some(run.0.clone()),
                Standing::Open | Standing::Parked(_) | Standing::Resuming { .. } => None,
            },
            last_reset_at: stored.reset_at,
            last_error: stored.last_error,
            agents: agents.into_iter().map(|(id, name)| AccountAgent { id: id.0, name }).collect(),
            id: stored.id,
            company_id: stored.company_id.0,
            provider: stored.provider,
            label: stored.label,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

/// What is known of a provider's limits (spec/heartbeat.md 9.8).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuotaWindows {
    provider: String,
    /// Always `bugle`: what its own runs met, and nothing that a program or page was asked for.
    source: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    windows: Vec<QuotaWindow>,
}

/// One limit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QuotaWindow {
    label: String,
    /// 100 while a limit is reached; null when it is not known.
    used_percent: Option<u8>,
    #[schema(value_type = Option<String>)]
    resets_at: Option<Moment>,
    value_label: Option<String>,
    detail: Option<String>,
}

impl QuotaWindows {
    /// One entry for each provider, with a window for each account.
    pub(crate) fn all(accounts: Vec<AccountView>, now: Moment) -> Vec<QuotaWindows> {
        let mut all: Vec<QuotaWindows> = Vec::new();
        for view in accounts {
            let provider = view.stored.provider.clone();
            let window = QuotaWindow::of(view, now);
            match all.iter_mut().find(|of| of.provider == provider) {
                Some(of) => of.windows.push(window),
                None => {
                    all.push(QuotaWindows {
                        provider,
                        source: "bugle",
                        ok: true,
                        error: None,
                        windows: vec![window],
                    });
                }
            }
        }
        all
    }
}

impl QuotaWindow {
    fn of(view: AccountView, now: Moment) -> QuotaWindow {
        use domain::account::ParkedFor;
        let park = view.stored.account.park().filter(|park| park.why == ParkedFor::Quota);
        let named = view.stored.reset_at.filter(|at| *at > now);
        QuotaWindow {
            used_percent: park.map(|_| 100),
            resets_at: park.and_then(|park| park.until).or(named),
            value_label: park.map(|_| "limit reached".to_owned()),
            detail: view.waits_for,
            label: view.stored.label,
        }
    }
}
