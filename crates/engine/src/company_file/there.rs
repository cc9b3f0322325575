//! What a company has, loaded at one moment: what a file of it says, and what a file is compared with.

use std::collections::{BTreeMap, BTreeSet};

use domain::access::Grant;
use domain::agent::AgentStatus;
use domain::budget::WindowKind;
use domain::company_file::{Section, key_of};
use domain::ids::{AgentId, CompanyId};
use domain::instructions::MOST_FILES;
use domain::moment::Moment;
use store::agents::{self, Agent};
use store::budgets::policies::{self, Policy};
use store::companies::{self, Company};
use store::environments::{self, Environment};
use store::goals::{self, Goal};
use store::instructions::{self, InstructionFile};
use store::labels::{self, Label};
use store::secrets::{self, Secret};
use store::skills::{self, Skill};
use store::users::{self, Principal};
use store::webhooks::endpoints::{self, Endpoint};
use store::{StoreError, Tx, projects};

use crate::environments::{MOST_ENVIRONMENTS, local_environment};
use crate::projects::{MOST_PROJECTS, ProjectCard, cards};
use crate::skills::MOST_SKILLS;
use crate::{AutomationView, Engine, EngineError, MOST_AUTOMATIONS, MOST_ENDPOINTS};

/// Rows in one look.
const PAGE: i64 = 1_000;

/// All of a company that a file speaks of.
#[derive(Debug, Clone)]
pub(super) struct There {
    pub(super) company: Company,
    pub(super) labels: Vec<Label>,
    pub(super) skills: Vec<Skill>,
    pub(super) environments: Vec<Environment>,
    pub(super) agents: Vec<Agent>,
    /// Agents that nobody has decided on.
    pub(super) waiting: Vec<Agent>,
    /// Agents that may give work to others.
    pub(super) assigning: BTreeSet<AgentId>,
    pub(super) instructions: BTreeMap<AgentId, Vec<InstructionFile>>,
    pub(super) goals: Vec<Goal>,
    pub(super) projects: Vec<ProjectCard>,
    pub(super) policies: Vec<Policy>,
    /// Each with its newest definition.
    pub(super) automations: Vec<AutomationView>,
    pub(super) webhooks: Vec<Endpoint>,
    pub(super) secrets: Vec<Secret>,
}

impl There {
    /// A company that has nothing yet but what each one gets.
    pub(super) fn new(company: Company, now: Moment) -> There {
        There {
            environments: vec![local_environment(&company.id, String::new(), now)],
            company,
            labels: Vec::new(),
            skills: Vec::new(),
            agents: Vec::new(),
            waiting: Vec::new(),
            assigning: BTreeSet::new(),
            instructions: BTreeMap::new(),
            goals: Vec::new(),
            projects: Vec::new(),
            policies: Vec::new(),
            automations: Vec::new(),
            webhooks: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// What an agent is called; `None` for one that is no more.
    pub(super) fn agent_name(&self, id: &str) -> Option<&str> {
        let all = self.agents.iter().chain(&self.waiting);
        all.into_iter().find(|agent| agent.id.as_str() == id).map(|agent| agent.name.as_str())
    }

    pub(super) fn agent(&self, id: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.id.as_str() == id)
    }

    pub(super) fn environment_name(&self, id: &str) -> Option<&str> {
        self.environments.iter().find(|row| row.id == id).map(|row| row.name.as_str())
    }

    pub(super) fn project(&self, id: &str) -> Option<&ProjectCard> {
        self.projects.iter().find(|card| card.project.id == id)
    }

    /// The ids of everything that may be referred to, by its section and the key of its name.
    pub(super) fn ids(&self) -> BTreeMap<(Section, String), String> {
        let mut ids = BTreeMap::new();
        let mut note = |section: Section, name: &str, id: &str| {
            ids.insert((section, key_of(section, name)), id.to_owned());
        };
        for agent in self.agents.iter().chain(&self.waiting) {
            note(Section::Agents, &agent.name, agent.id.as_str());
        }
        for row in &self.environments {
            note(Section::Environments, &row.name, &row.id);
        }
        for goal in &self.goals {
            note(Section::Goals, &goal.title, &goal.id);
        }
        for card in &self.projects {
            note(Section::Projects, &card.project.name, &card.project.id);
        }
        ids
    }
}

impl Engine {
    /// Looks at a company.
    pub(super) async fn there(&self, company: &CompanyId) -> Result<There, EngineError> {
        let now = self.now();
        let found = self.inner.read(company.clone(), move |tx, id| {
            Box::pin(async move {
                let Some(company) = companies::get(tx, &id).await? else { return Ok(None) };
                let mut there = There::new(company, now);
                load(tx, &id, &mut there, now).await?;
                Ok(Some(there))
            })
        });
        let mut there = found.await?.ok_or(EngineError::NotFound("Company"))?;
        loop {
            let after = there.automations.last().map(|view| view.automation.name.clone()).unwrap_or_default();
            let page = self.automations(company, &after, MOST_AUTOMATIONS).await?;
            let is_last = (page.len() as i64) < MOST_AUTOMATIONS;
            there.automations.extend(page);
            if is_last {
                return Ok(there);
            }
        }
    }
}

/// Whether an agent may give work to others.
pub(super) async fn may_assign(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
) -> Result<bool, StoreError> {
    let who = Principal::agent(agent.as_str());
    users::holds_grant(tx, company, &who, Grant::AssignTasks.as_str()).await
}

async fn load(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    there: &mut There,
    now: Moment,
) -> Result<(), StoreError> {
    there.labels = labels::list(tx, company, PAGE).await?;
    there.skills = skills::list(tx, company, MOST_SKILLS).await?;
    let environments = environments::list(tx, company, None, None, MOST_ENVIRONMENTS).await?;
    // The local one is made when somebody looks for it: here it is as good as there.
    there.environments.retain(|_| !environments.iter().any(|row| row.driver == "local"));
    there.environments.extend(environments);
    let mut after = None;
    loop {
        let page = agents::list(tx, company, after, PAGE).await?;
        after = page.last().map(|agent| (agent.created_at, agent.id.clone()));
        let is_last = (page.len() as i64) < PAGE;
        for agent in page {
            let is_waiting = agent.status == AgentStatus::PendingApproval;
            if is_waiting { &mut there.waiting } else { &mut there.agents }.push(agent);
        }
        if is_last {
            break;
        }
    }
    for agent in &there.agents {
        if may_assign(tx, company, &agent.id).await? {
            there.assigning.insert(agent.id.clone());
        }
        let files = instructions::of_agent(tx, &agent.id, MOST_FILES as i64).await?;
        there.instructions.insert(agent.id.clone(), files);
    }
    let mut after = None;
    loop {
        let page = goals::list(tx, company, after, PAGE).await?;
        after = page.last().map(|goal| (goal.created_at, goal.id.clone()));
        let is_last = (page.len() as i64) < PAGE;
        there.goals.extend(page);
        if is_last {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = projects::list(tx, company, after, MOST_PROJECTS).await?;
        after = page.last().map(|project| (project.created_at, project.id.clone()));
        let is_last = (page.len() as i64) < MOST_PROJECTS;
        there.projects.extend(cards(tx, page).await?);
        if is_last {
            break;
        }
    }
    let month = WindowKind::CalendarMonthUtc.at(now).start;
    let mut after = None;
    loop {
        let page = policies::list(tx, company, month, after, PAGE).await?;
        after = page.last().map(|standing| (standing.policy.created_at, standing.policy.id.clone()));
        let is_last = (page.len() as i64) < PAGE;
        there.policies.extend(page.into_iter().map(|standing| standing.policy));
        if is_last {
            break;
        }
    }
    there.webhooks = endpoints::list(tx, company, MOST_ENDPOINTS).await?;
    let mut before = None;
    loop {
        let page = secrets::list(tx, company, before, PAGE).await?;
        before = page.last().map(|secret| (secret.created_at, secret.id.clone()));
        let is_last = (page.len() as i64) < PAGE;
        there.secrets.extend(page);
        if is_last {
            return Ok(());
        }
    }
}
