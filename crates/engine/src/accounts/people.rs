//! What people see of accounts, and what they may do with them.

use std::collections::BTreeMap;

use domain::account::Change;
use domain::ids::{AgentId, CompanyId};
use domain::issue::refusal::Refusal;
use domain::moment::Moment;
use serde_json::json;
use store::accounts::{self, StoredAccount};
use store::agents::{self, Agent};
use store::{audit, inbox};

use crate::activity::Author;
use crate::issues::Locks;
use crate::{Engine, EngineError, stops};

/// The longest list of accounts.
const MOST: i64 = 1000;

/// An account with the agents that use it now.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountView {
    pub stored: StoredAccount,
    /// Id and name.
    pub agents: Vec<(AgentId, String)>,
    /// In words, what is waited for; `None`: nothing.
    pub waits_for: Option<String>,
}

/// A change of an account by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountPatch {
    /// One run tries it now; what a person parked is open again.
    Resume,
    /// Nothing starts on it, until a moment or until it is resumed.
    Park {
        until: Option<Moment>,
    },
    AutoResume(bool),
}

impl Engine {
    /// Returns the accounts of a company, oldest first.
    pub async fn accounts(&self, company: &CompanyId) -> Result<Vec<AccountView>, EngineError> {
        let (keyring, now) = (self.inner.keyring.clone(), self.now());
        let found = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move {
                Ok((
                    accounts::of_company(tx, &company, MOST).await?,
                    agents::list(tx, &company, None, MOST).await?,
                ))
            })
        });
        let (accounts, agents): (Vec<StoredAccount>, Vec<Agent>) = found.await?;
        let mut users: BTreeMap<String, Vec<(AgentId, String)>> = BTreeMap::new();
        for agent in agents {
            if let Some(credential) = keyring.of(&agent) {
                users.entry(credential.fingerprint).or_default().push((agent.id, agent.name));
            }
        }
        let view = |stored: StoredAccount| AccountView {
            agents: users.get(&stored.fingerprint).cloned().unwrap_or_default(),
            waits_for: stored.account.admits(now).err().map(|wait| wait.words()),
            stored,
        };
        Ok(accounts.into_iter().map(view).collect())
    }

    /// Returns one account.
    pub async fn account(&self, id: &str) -> Result<AccountView, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { accounts::get(tx, &id).await }));
        let stored = found.await?.ok_or(EngineError::NotFound("Account"))?;
        let all = self.accounts(&stored.company_id).await?;
        all.into_iter().find(|view| view.stored.id == id).ok_or(EngineError::NotFound("Account"))
    }

    /// Changes an account for a person.
    pub async fn change_account(
        &self,
        id: &str,
        patch: AccountPatch,
        by: &Author,
    ) -> Result<AccountView, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let changed = self.inner.change(
            by,
            Locks::default(),
            (id.to_owned(), patch),
            |tx, mut scribe, _, (id, patch)| {
                Box::pin(async move {
                    let now = scribe.now;
                    let mut stored =
                        accounts::lock(tx, &id).await?.ok_or(EngineError::NotFound("Account"))?;
                    let (action, change) = match patch {
                        AccountPatch::Resume => ("account.resume_asked", stored.account.resume(now)),
                        AccountPatch::Park { until } => {
                            ("account.parked", Some(stored.account.park_by_person(until, now)))
                        }
                        AccountPatch::AutoResume(on) => {
                            ("account.auto_resume_set", stored.account.set_auto_resume(on))
                        }
                    };
                    // Who was asked whether to go on has said so.
                    let is_answer = action == "account.resume_asked";
                    let (company, name) = (stored.company_id.clone(), super::named(&stored));
                    let told = super::keep(tx, stored, change.or(Some(Change::Noted)), now).await?;
                    super::tell(tx, told, Some(action), now).await?;
                    if is_answer {
                        inbox::resolve_of(tx, &id, Some("go_on"), "resumed", now).await?;
                        inbox::resolve_of(tx, &id, Some("keeps_failing"), "resumed", now).await?;
                    }
                    let details = match patch {
                        AccountPatch::Resume => json!({ "account": name }),
                        AccountPatch::Park { until } => json!({ "account": name, "until": until }),
                        AccountPatch::AutoResume(on) => json!({ "account": name, "autoResume": on }),
                    };
                    scribe.tell(tx, &company, action, ("account", &id), details).await?;
                    let record = stops::record(&company, &scribe.by.actor(), action, &id, &name, now);
                    audit::append(tx, record).await?;
                    Ok(())
                })
            },
        );
        changed.await?;
        self.inner.accounts.notify_one();
        self.inner.doorbell.ring_all();
        self.inner.automations.accounts_moved();
        self.account(id).await
    }
}
