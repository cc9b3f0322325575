//! Environments as people keep them: making, changing, removing and looking at them, and at the leases on them.

use std::collections::BTreeMap;

use adapters::{Problem, REDACTED};
use domain::environment::choice::Wish;
use domain::environment::lease::LeaseStatus;
use domain::ids::{CompanyId, RunId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::environment_leases::{self as leases, EnvironmentLease};
use store::environments::{self, Environment};
use store::{Tx, companies, execution_workspaces};

use super::driver::{Ask, Driver, Drivers, ProbeReport};
use super::keys;
use super::on_run::{driver_of, folder_of, forget_folder};
use crate::activity::Author;
use crate::issues::{Locks, agent_in};
use crate::{Engine, EngineError};

/// As many environments, or leases on one, are listed.
pub const MOST_ENVIRONMENTS: i64 = 1_000;
const LONGEST_NAME: usize = 200;
const LONGEST_TEXT: usize = 20_000;
/// Workspaces in one look.
const PAGE: i64 = 200;
const STATUSES: [&str; 2] = ["active", "archived"];

/// A new environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentDraft {
    pub name: String,
    pub description: Option<String>,
    pub driver: String,
    pub status: String,
    pub config: Json,
    pub metadata: Option<Json>,
}

/// A change of an environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EnvironmentPatch {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub driver: Option<String>,
    pub status: Option<String>,
    /// Laid over what there is, unless the driver changes; null removes a key.
    pub config: Option<Map<String, Json>>,
    pub metadata: Option<Option<Json>>,
}

/// Where a run worked.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlace {
    pub environment: Environment,
    pub lease: EnvironmentLease,
}

/// A configuration as it is shown to those who may read it: keys that are secret are not.
pub fn shown_config(drivers: &Drivers, environment: &Environment) -> Json {
    let secrets = drivers.find(&environment.driver).map_or(&[][..], |driver| driver.secrets());
    let mut config = environment.config.clone();
    if let Some(config) = config.as_object_mut() {
        for key in secrets {
            if let Some(value) = config.get_mut(*key).filter(|value| !value.is_null()) {
                *value = Json::from(REDACTED);
            }
        }
    }
    config
}

impl Engine {
    /// Lists the environments of a company, oldest first. The local one is made where it is missing.
    pub async fn environments(
        &self,
        company: &CompanyId,
        status: Option<String>,
        driver: Option<String>,
    ) -> Result<Vec<Environment>, EngineError> {
        let context = (company.clone(), status, driver);
        let has_local = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { Ok(environments::local_of(tx, &company).await?.is_some()) })
        });
        if !has_local.await? {
            let (now, id) = (self.now(), self.new_id());
            let made = self.inner.write((company.clone(), id), move |tx, (company, id)| {
                Box::pin(async move { super::choosing::ensure_local(tx, &company, id, now).await })
            });
            made.await?;
        }
        let listed = self.inner.read(context, |tx, (company, status, driver)| {
            Box::pin(async move {
                let (status, driver) = (status.as_deref(), driver.as_deref());
                environments::list(tx, &company, status, driver, MOST_ENVIRONMENTS).await
            })
        });
        Ok(listed.await?)
    }

    /// Finds an environment by its id, whatever company it belongs to.
    pub async fn environment(&self, id: &str) -> Result<Environment, EngineError> {
        let found = self
            .inner
            .read(id.to_owned(), |tx, id| Box::pin(async move { environments::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Environment"))
    }

    /// Makes an environment.
    pub async fn create_environment(
        &self,
        company: &CompanyId,
        draft: EnvironmentDraft,
        by: &Author,
    ) -> Result<Environment, EngineError> {
        self.make_environment(company, draft, false, by).await
    }

    /// The same. `is_once`: a name that another one has is refused.
    pub(crate) async fn make_environment(
        &self,
        company: &CompanyId,
        draft: EnvironmentDraft,
        is_once: bool,
        by: &Author,
    ) -> Result<Environment, EngineError> {
        let environment = Environment {
            id: self.new_id(),
            company_id: company.clone(),
            name: draft.name.trim().to_owned(),
            description: draft.description,
            driver: draft.driver,
            status: draft.status,
            config: draft.config,
            metadata: draft.metadata,
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.check_environment(&environment)?;
        let sealer = self.sealer(&environment.driver, &[&environment.config]).await?;
        let context = (environment, sealer, self.inner.settings.drivers.clone());
        let made = self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (mut environment, sealer, drivers) = context;
                let company = environment.company_id.clone();
                if is_once {
                    companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    let there = environments::list(tx, &company, None, None, MOST_ENVIRONMENTS).await?;
                    if there.iter().any(|row| row.name == environment.name && row.driver != "local") {
                        return Err(EngineError::taken("environment", &environment.name));
                    }
                }
                agent_in(tx, &scribe, &company).await?;
                let of = &mut environment;
                let references = keys::settle(tx, &mut scribe, &drivers, of, None, sealer.as_ref()).await?;
                if !environments::insert(tx, &environment).await? {
                    return Err(EngineError::Conflict {
                        message: "The company has its local environment already".to_owned(),
                        details: None,
                    });
                }
                keys::refer(tx, &environment, &references).await?;
                let details =
                    json!({ "name": environment.name, "driver": environment.driver, "status": environment.status });
                let about = ("environment", environment.id.as_str());
                scribe.tell(tx, &company, "environment.created", about, details).await?;
                Ok(environment)
            })
        });
        made.await
    }

    /// Changes an environment. Leases that are active go on as they were begun.
    pub async fn patch_environment(
        &self,
        id: &str,
        patch: EnvironmentPatch,
        by: &Author,
    ) -> Result<Environment, EngineError> {
        let stored = self.environment(id).await?;
        let given = patch.config.clone().map_or(Json::Null, Json::Object);
        let driver = patch.driver.as_deref().unwrap_or(&stored.driver);
        let sealer = self.sealer(driver, &[&given, &stored.config]).await?;
        let engine = self.clone();
        let context = (id.to_owned(), patch, engine, sealer);
        let patched = self.inner.change(
            by,
            Locks::default(),
            context,
            |tx, mut scribe, _, (id, patch, engine, sealer)| {
                Box::pin(async move {
                    let before =
                        environments::lock(tx, &id).await?.ok_or(EngineError::NotFound("Environment"))?;
                    agent_in(tx, &scribe, &before.company_id).await?;
                    let mut after = filled(before.clone(), patch);
                    after.updated_at = scribe.now;
                    engine.check_environment(&after)?;
                    if before.driver == "local" && (after.driver != "local" || after.status != "active") {
                        return Err(local_stays());
                    }
                    if after.driver != before.driver && leases::is_used(tx, &id).await? {
                        return Err(in_use());
                    }
                    let is_second = after.driver == "local" && before.driver != "local";
                    if is_second && environments::local_of(tx, &after.company_id).await?.is_some() {
                        return Err(EngineError::Conflict {
                            message: "The company has its local environment already".to_owned(),
                            details: None,
                        });
                    }
                    let (drivers, before) = (&engine.inner.settings.drivers, Some(&before.config));
                    let references =
                        keys::settle(tx, &mut scribe, drivers, &mut after, before, sealer.as_ref()).await?;
                    environments::update(tx, &after).await?;
                    keys::refer(tx, &after, &references).await?;
                    let details =
                        json!({ "name": after.name, "driver": after.driver, "status": after.status });
                    let about = ("environment", id.as_str());
                    scribe.tell(tx, &after.company_id, "environment.updated", about, details).await?;
                    Ok(after)
                })
            },
        );
        patched.await
    }

    /// Removes an environment with the record of its leases. One that is in use, and the local one, stay.
    pub async fn delete_environment(&self, id: &str, by: &Author) -> Result<Environment, EngineError> {
        let context = (id.to_owned(), self.inner.settings.drivers.clone());
        let removed = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, drivers)| {
            Box::pin(async move {
                let found = environments::lock(tx, &id).await?.ok_or(EngineError::NotFound("Environment"))?;
                agent_in(tx, &scribe, &found.company_id).await?;
                if found.driver == "local" {
                    return Err(local_stays());
                }
                if leases::is_used(tx, &id).await? {
                    return Err(in_use());
                }
                environments::forget_default(tx, &found.company_id, &id).await?;
                forget_in_workspaces(tx, &found.company_id, &id, scribe.now).await?;
                environments::remove(tx, &id).await?;
                keys::forget(tx, &mut scribe, &drivers, &found).await?;
                let details = json!({ "name": found.name, "driver": found.driver });
                let about = ("environment", id.as_str());
                scribe.tell(tx, &found.company_id, "environment.deleted", about, details).await?;
                Ok(found)
            })
        });
        removed.await
    }

    /// Looks whether runs could work in an environment.
    pub async fn probe_environment(
        &self,
        id: &str,
        by: &Author,
    ) -> Result<(Environment, ProbeReport), EngineError> {
        let environment = self.environment(id).await?;
        let opened = self.opened(environment.clone()).await?;
        let report = self.probe(&opened.driver, &opened.config).await?;
        self.tell_probe(&environment.company_id, Some(id), &environment.driver, &report, by).await?;
        Ok((environment, report))
    }

    /// Looks whether runs could work in an environment that is not kept yet.
    pub async fn probe_environment_config(
        &self,
        company: &CompanyId,
        driver: &str,
        config: &Json,
        by: &Author,
    ) -> Result<ProbeReport, EngineError> {
        let asked = Environment {
            id: String::new(),
            company_id: company.clone(),
            name: "unsaved".to_owned(),
            description: None,
            driver: driver.to_owned(),
            status: "active".to_owned(),
            config: config.clone(),
            metadata: None,
            created_at: self.now(),
            updated_at: self.now(),
        };
        let opened = self.opened(asked).await?;
        let report = self.probe(driver, &opened.config).await?;
        self.tell_probe(company, None, driver, &report, by).await?;
        Ok(report)
    }

    /// With values in the place of references; a secret that cannot be had is named with its field.
    async fn opened(&self, environment: Environment) -> Result<Environment, EngineError> {
        let opened = keys::opened(&self.inner, environment).await?;
        opened.map_err(|error| EngineError::refused(Kind::Unprocessable, error.words))
    }

    async fn probe(&self, driver: &str, config: &Json) -> Result<ProbeReport, EngineError> {
        let found = self.driver(driver)?;
        let problems = found.check(config);
        if !problems.is_empty() {
            return Err(EngineError::Invalid(problems));
        }
        let settings = &self.inner.settings;
        let name = format!("probe-{}", self.new_id());
        let folder = folder_of(settings, &name);
        let report = found.probe(Ask {
            lease_id: &name,
            run_id: "probe",
            scope: "probe",
            config,
            held: &Json::Null,
            api_url: &settings.api_url,
            door: settings.agent_door.as_deref(),
            folder: &folder,
            local: &folder,
            host: &settings.host,
        });
        let report = report.await;
        forget_folder(&folder);
        Ok(report)
    }

    async fn tell_probe(
        &self,
        company: &CompanyId,
        id: Option<&str>,
        driver: &str,
        report: &ProbeReport,
        by: &Author,
    ) -> Result<(), EngineError> {
        let action = if id.is_some() { "environment.probed" } else { "environment.probed_unsaved" };
        let details = json!({ "driver": driver, "ok": report.ok, "summary": report.summary });
        let entity = id.unwrap_or("unsaved").to_owned();
        let context = (company.clone(), entity, details, action);
        let told = self.inner.change(
            by,
            Locks::default(),
            context,
            |tx, mut scribe, _, (company, id, details, action)| {
                Box::pin(async move {
                    scribe.tell(tx, &company, action, ("environment", &id), details).await?;
                    Ok(())
                })
            },
        );
        told.await
    }

    /// Lists the leases on an environment, newest first.
    pub async fn environment_leases(
        &self,
        environment: &str,
        status: Option<LeaseStatus>,
    ) -> Result<Vec<EnvironmentLease>, EngineError> {
        let listed = self.inner.read(environment.to_owned(), move |tx, id| {
            Box::pin(async move { leases::of_environment(tx, &id, status, MOST_ENVIRONMENTS).await })
        });
        Ok(listed.await?)
    }

    /// Finds a lease by its id, whatever company it belongs to.
    pub async fn environment_lease(&self, id: &str) -> Result<EnvironmentLease, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { leases::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Environment lease"))
    }

    /// Where these runs worked last, of those that have a lease.
    pub async fn places_of_runs(&self, runs: &[RunId]) -> Result<BTreeMap<RunId, RunPlace>, EngineError> {
        let found = self.inner.read(runs.to_vec(), |tx, runs| {
            Box::pin(async move {
                let leases = leases::of_runs(tx, &runs).await?;
                let mut ids: Vec<String> = leases.iter().map(|lease| lease.environment_id.clone()).collect();
                ids.sort();
                ids.dedup();
                Ok((leases, environments::some(tx, &ids).await?))
            })
        });
        let (leases, environments) = found.await?;
        let by_id: BTreeMap<String, Environment> =
            environments.into_iter().map(|environment| (environment.id.clone(), environment)).collect();
        let place = |lease: EnvironmentLease| {
            let environment = by_id.get(&lease.environment_id)?.clone();
            Some((lease.heartbeat_run_id.clone()?, RunPlace { environment, lease }))
        };
        Ok(leases.into_iter().filter_map(place).collect())
    }

    fn driver(&self, kind: &str) -> Result<std::sync::Arc<dyn Driver>, EngineError> {
        let drivers = &self.inner.settings.drivers;
        drivers.find(kind).ok_or_else(|| {
            let known: Vec<&str> = drivers.iter().map(|driver| driver.kind()).collect();
            wrong("driver", "is not known here", &format!("known are: {}", known.join(", ")))
        })
    }

    /// Looks for mistakes in an environment that is about to be saved.
    pub(crate) fn check_environment(&self, environment: &Environment) -> Result<(), EngineError> {
        let mut problems = Vec::new();
        let mut say = |path: &str, message: &str, hint: &str| {
            problems.push(Problem {
                path: path.to_owned(),
                message: message.to_owned(),
                hint: Some(hint.to_owned()),
            });
        };
        let name = environment.name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            say("name", "must be one line of 1 to 200 characters", "for example: build box");
        }
        if environment.description.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
            say("description", "is too long", "at most 20000 bytes");
        }
        if !STATUSES.contains(&environment.status.as_str()) {
            say("status", "must be active or archived", "archived ones are not used by runs");
        }
        if !environment.config.is_object() {
            say("config", "must be an object", "leave it out for {}");
        }
        let placeholders = environment.config.as_object().into_iter().flatten();
        for (key, _) in placeholders.filter(|(_, value)| value.as_str() == Some(REDACTED)) {
            say(
                &format!("config.{key}"),
                "Refusing to persist redacted placeholder",
                "leave it out to keep what is stored, or give the value",
            );
        }
        match driver_of(&self.inner, environment) {
            Ok(driver) if environment.config.is_object() => {
                problems.extend(driver.check(&environment.config))
            }
            Ok(_) => {}
            Err(_) => {
                if let Err(EngineError::Invalid(more)) = self.driver(&environment.driver) {
                    problems.extend(more);
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
    }
}

/// Refuses a default environment that the agent's runs could not work in.
pub(crate) async fn check_default(tx: &mut Tx<'_>, agent: &Agent) -> Result<(), EngineError> {
    let Some(id) = &agent.default_environment_id else { return Ok(()) };
    let found = environments::get(tx, id).await?;
    let hint = "list them with: bugle environment list";
    match found.filter(|found| found.company_id == agent.company_id) {
        None => Err(wrong("defaultEnvironmentId", "Environment not found.", hint)),
        Some(found) if found.status != "active" => {
            Err(wrong("defaultEnvironmentId", "Environment is archived.", hint))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses settings (`environmentId` of an issue, a project or a workspace) that name an environment which the company
/// does not have, or has put away.
pub(crate) async fn check_choice(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    settings: Option<&Json>,
) -> Result<(), EngineError> {
    let Wish::Named(id) = Wish::of(settings) else { return Ok(()) };
    let found = environments::get(tx, &id).await?.filter(|found| found.company_id == *company);
    let words = match found {
        None => "Environment not found.",
        Some(found) if found.status != "active" => "Environment is archived.",
        Some(_) => return Ok(()),
    };
    Err(EngineError::refused_with(Kind::Unprocessable, words, json!({ "environmentId": id })))
}

/// Workspaces that noted an environment which goes are as if nobody had chosen one.
async fn forget_in_workspaces(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    environment: &str,
    now: Moment,
) -> Result<(), EngineError> {
    let mut after = String::new();
    loop {
        let page = execution_workspaces::open_of(tx, company, &after, PAGE).await?;
        for mut row in page.iter().cloned() {
            let noted = row.metadata.as_mut().and_then(|it| it.pointer_mut("/config/environmentId"));
            if let Some(noted) = noted.filter(|noted| noted.as_str() == Some(environment)) {
                *noted = Json::Null;
                row.updated_at = now;
                execution_workspaces::update_record(tx, &row).await?;
            }
        }
        match page.last() {
            Some(last) if page.len() as i64 == PAGE => after.clone_from(&last.id),
            Some(_) | None => return Ok(()),
        }
    }
}

fn filled(mut environment: Environment, patch: EnvironmentPatch) -> Environment {
    if let Some(name) = patch.name {
        environment.name = name.trim().to_owned();
    }
    if let Some(description) = patch.description {
        environment.description = description;
    }
    if let Some(status) = patch.status {
        environment.status = status;
    }
    if let Some(metadata) = patch.metadata {
        environment.metadata = metadata;
    }
    let is_other = patch.driver.as_ref().is_some_and(|driver| *driver != environment.driver);
    if is_other {
        environment.config = json!({});
    }
    if let Some(driver) = patch.driver {
        environment.driver = driver;
    }
    if let (Some(config), Some(stored)) = (patch.config, environment.config.as_object_mut()) {
        for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
            // A key in plain takes the place of a secret, and the other way round.
            let other = key.strip_suffix("SecretRef").map_or_else(|| keys::reference_of(key), str::to_owned);
            if !config.contains_key(&other) && value.as_str() != Some(REDACTED) {
                stored.remove(&other);
            }
        }
        for (key, value) in config {
            if value.is_null() {
                stored.remove(&key);
            } else {
                stored.insert(key, value);
            }
        }
    }
    environment
}

fn wrong(path: &str, message: &str, hint: &str) -> EngineError {
    EngineError::Invalid(vec![Problem {
        path: path.to_owned(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }])
}

fn in_use() -> EngineError {
    EngineError::Conflict { message: "Environment is in use by a run".to_owned(), details: None }
}

fn local_stays() -> EngineError {
    EngineError::Conflict {
        message: "The local environment is the default of its company and stays".to_owned(),
        details: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh() -> Environment {
        Environment {
            id: "e".to_owned(),
            company_id: CompanyId::from("c"),
            name: "Box".to_owned(),
            description: None,
            driver: "ssh".to_owned(),
            status: "active".to_owned(),
            config: json!({ "host": "box", "privateKey": "secret", "port": 2222 }),
            metadata: None,
            created_at: Moment::from_micros(0),
            updated_at: Moment::from_micros(0),
        }
    }

    #[test]
    fn keys_are_never_shown() {
        let shown = shown_config(&Drivers::default(), &ssh());
        assert_eq!(shown, json!({ "host": "box", "privateKey": REDACTED, "port": 2222 }));
    }

    #[test]
    fn a_patch_is_laid_over_the_configuration_unless_the_driver_changes() {
        let config = |value: Json| EnvironmentPatch {
            config: value.as_object().cloned(),
            ..EnvironmentPatch::default()
        };
        let patched = filled(ssh(), config(json!({ "host": "other", "port": null })));
        assert_eq!(patched.config, json!({ "host": "other", "privateKey": "secret" }));
        let sealed = Environment {
            config: json!({ "host": "box", "privateKeySecretRef": { "type": "secret_ref", "secretId": "s" } }),
            ..ssh()
        };
        let patched = filled(sealed.clone(), config(json!({ "privateKey": "new" })));
        assert_eq!(patched.config, json!({ "host": "box", "privateKey": "new" }));
        assert_eq!(filled(sealed.clone(), config(json!({ "host": "box" }))).config, sealed.config);
        let patched = filled(ssh(), config(json!({ "privateKeySecretRef": { "secretId": "t" } })));
        assert_eq!(patched.config["privateKey"], Json::Null);
        let patch = EnvironmentPatch { driver: Some("local".to_owned()), ..config(json!({})) };
        assert_eq!(filled(ssh(), patch).config, json!({}));
    }
}
