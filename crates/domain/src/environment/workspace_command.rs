//! Which commands of a workspace somebody means, and what may be done with them (spec/api.md W-05): services are started,
//! stopped and started again, jobs are run.

use super::runtime_service::{Commands, ServiceSpec};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Restart,
    Run,
}

impl Action {
    /// The word of the route.
    pub fn parse(word: &str) -> Option<Action> {
        [Action::Start, Action::Stop, Action::Restart, Action::Run].into_iter().find(|it| it.as_str() == word)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Restart => "restart",
            Action::Run => "run",
        }
    }
}

/// What somebody names; the first that is given counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The name of a service that was started.
    pub started: Option<String>,
    /// An id or a name of the configuration.
    pub command: Option<String>,
    /// A place among the services of the configuration.
    pub index: Option<usize>,
}

impl Choice {
    /// It names one.
    pub const fn names_one(&self) -> bool {
        self.started.is_some() || self.command.is_some() || self.index.is_some()
    }
}

/// What is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// Empty: one that was started and is not in the configuration any more.
    Services(Vec<ServiceSpec>),
    Job(Box<ServiceSpec>),
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration is empty.
    NoConfiguration,
    NotFound,
    /// It was started, and the configuration does not define it any more.
    NotDefined(String),
    /// A job is run, not started or stopped.
    OnlyRuns(String),
    /// A service is started, not run.
    StartIt,
    /// Which job is to run was not said.
    SelectJob,
}

/// Finds what is meant.
pub fn select(commands: &Commands, action: Action, choice: &Choice) -> Result<Meant, Refusal> {
    if commands.is_empty() && choice.started.is_none() {
        return Err(Refusal::NoConfiguration);
    }
    let is_named = |spec: &&ServiceSpec| match (&choice.started, &choice.command) {
        (Some(started), _) => spec.name == *started,
        (None, Some(command)) => spec.id == *command || spec.name == *command,
        (None, None) => false,
    };
    let job = commands.jobs.iter().find(is_named);
    let services: Vec<ServiceSpec> = match choice
        .index
        .filter(|_| choice.started.is_none() && choice.command.is_none())
    {
        Some(index) => commands.services.get(index).into_iter().cloned().collect(),
        None if choice.names_one() => commands.services.iter().find(is_named).into_iter().cloned().collect(),
        None => commands.services.clone(),
    };
    match (action, job) {
        (Action::Run, Some(job)) => Ok(Meant::Job(Box::new(job.clone()))),
        (Action::Run, None) if !choice.names_one() => Err(Refusal::SelectJob),
        (Action::Run, None) if services.is_empty() => Err(Refusal::NotFound),
        (Action::Run, None) => Err(Refusal::StartIt),
        // One that runs is stopped like a service, by its own id.
        (Action::Stop, Some(_)) if choice.started.is_some() => Ok(Meant::Services(Vec::new())),
        (Action::Start | Action::Stop | Action::Restart, Some(job)) => {
            Err(Refusal::OnlyRuns(job.name.clone()))
        }
        (Action::Stop, None) if services.is_empty() && choice.started.is_some() => {
            Ok(Meant::Services(services))
        }
        (Action::Start | Action::Stop | Action::Restart, None) if services.is_empty() => {
            match &choice.started {
                Some(started) => Err(Refusal::NotDefined(started.clone())),
                None if choice.names_one() => Err(Refusal::NotFound),
                None => Err(Refusal::NoConfiguration),
            }
        }
        (Action::Start | Action::Stop | Action::Restart, None) => Ok(Meant::Services(services)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::environment::runtime_service::read_all;

    fn commands() -> Commands {
        let runtime = json!({
            "services": [{ "name": "web", "command": "w" }, { "name": "db", "id": "postgres", "command": "d" }],
            "jobs": [{ "name": "seed", "command": "s" }],
        });
        read_all(Some(&runtime)).unwrap()
    }

    #[test]
    fn services_are_started_and_jobs_are_run_and_whoever_mixes_them_up_is_told() {
        let command = |name: &str| Choice { command: Some(name.to_owned()), ..Choice::default() };
        let started = |name: &str| Choice { started: Some(name.to_owned()), ..Choice::default() };
        let index = |index| Choice { index: Some(index), ..Choice::default() };
        let all = Choice::default;
        let services = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let rows = [
            (Action::Start, all(), services(&["web", "db"])),
            (Action::Stop, all(), services(&["web", "db"])),
            (Action::Restart, command("web"), services(&["web"])),
            (Action::Start, command("postgres"), services(&["db"])),
            (Action::Start, command("db"), services(&["db"])),
            (Action::Start, index(1), services(&["db"])),
            (Action::Start, index(2), Err(Refusal::NotFound)),
            (Action::Start, command("cache"), Err(Refusal::NotFound)),
            (Action::Restart, started("web"), services(&["web"])),
            (Action::Restart, started("cache"), Err(Refusal::NotDefined("cache".to_owned()))),
            (Action::Stop, started("cache"), services(&[])),
            (Action::Start, command("seed"), Err(Refusal::OnlyRuns("seed".to_owned()))),
            (Action::Stop, command("seed"), Err(Refusal::OnlyRuns("seed".to_owned()))),
            (Action::Stop, started("seed"), services(&[])),
            (Action::Run, command("seed"), services(&["job seed"])),
            (Action::Run, all(), Err(Refusal::SelectJob)),
            (Action::Run, command("web"), Err(Refusal::StartIt)),
            (Action::Run, index(0), Err(Refusal::StartIt)),
            (Action::Run, command("cache"), Err(Refusal::NotFound)),
        ];
        for (action, choice, expected) in rows {
            let named = select(&commands(), action, &choice).map(|meant| match meant {
                Meant::Services(specs) => specs.into_iter().map(|spec| spec.name).collect(),
                Meant::Job(job) => vec![format!("job {}", job.name)],
            });
            assert_eq!(named, expected, "{action:?} {choice:?}");
        }
        let nothing = Commands::default();
        assert_eq!(select(&nothing, Action::Start, &all()), Err(Refusal::NoConfiguration));
        assert_eq!(select(&nothing, Action::Run, &command("seed")), Err(Refusal::NoConfiguration));
        assert_eq!(select(&nothing, Action::Stop, &started("web")), Ok(Meant::Services(Vec::new())));
        let jobs = Commands { services: Vec::new(), ..commands() };
        assert_eq!(select(&jobs, Action::Start, &all()), Err(Refusal::NoConfiguration));
    }
}
