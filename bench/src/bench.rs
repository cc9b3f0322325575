//! What all figures share: how much to measure, where, with which program and which store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use domain::moment::Moment;
use engine::{Clock, SystemClock};
use store::{Settings, Store, Target};
use testkit::postgres::{Cluster, Durability};

use crate::Options;
use crate::machine::{self, Machine};
use crate::scene::{self, Scene};

/// The surroundings of a measurement.
pub(crate) struct Bench {
    options: Options,
    folder: PathBuf,
    pub(crate) machine: Machine,
    pub(crate) runtime: tokio::runtime::Runtime,
    /// This executable, the child of many figures.
    pub(crate) own: PathBuf,
    program: OnceLock<Option<PathBuf>>,
    cluster: Option<Cluster>,
    databases: AtomicU32,
}

impl Bench {
    pub(crate) fn prepare(options: &Options) -> Result<Bench> {
        machine::raise_open_files();
        let folder = match &options.folder {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir(),
        };
        ensure!(folder.is_dir(), "{} is not a folder", folder.display());
        let machine = Machine::look(&folder);
        if machine.file_system == "tmpfs" {
            eprintln!(
                "!! {} is in memory: nothing is flushed there; name a disk with --folder",
                folder.display()
            );
        }
        let cluster = if options.postgres {
            Some(Cluster::start(Durability::Full).context("PostgreSQL is not installed")?)
        } else {
            None
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        scene::clear_when_interrupted(&runtime)?;
        let own = std::env::current_exe().context("cannot find the benchmark's own executable")?;
        let (program, databases) = (OnceLock::new(), AtomicU32::new(0));
        Ok(Bench { options: options.clone(), folder, machine, runtime, own, program, cluster, databases })
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.options.quick
    }

    /// One of two amounts.
    pub(crate) fn amount<T>(&self, quick: T, full: T) -> T {
        if self.is_quick() { quick } else { full }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.cluster.is_some() || self.options.database_url.is_some()
    }

    pub(crate) fn store_name(&self) -> &'static str {
        if self.is_postgres() { "PostgreSQL" } else { "SQLite" }
    }

    pub(crate) fn scene(&self) -> Result<Scene> {
        Scene::new(&self.folder)
    }

    /// The program that is measured; built when it is not there.
    pub(crate) fn program(&self) -> Result<&Path> {
        let found = self.program.get_or_init(|| match &self.options.program {
            Some(program) => std::path::absolute(program).ok().filter(|program| program.is_file()),
            None => self.build().map_err(|error| eprintln!("!! {error:#}")).ok(),
        });
        found.as_deref().context("there is no program to measure; type: cargo build --release -p bugle")
    }

    /// The executable that keepers are started from: the program, or without one the benchmark, which can do it too.
    pub(crate) fn keeper_program(&self) -> &Path {
        self.program().unwrap_or(&self.own)
    }

    fn build(&self) -> Result<PathBuf> {
        let folder = self.own.parent().context("an executable lies in a folder")?;
        let program = folder.join("bugle");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        eprintln!("-- building the program");
        let mut command = Command::new(cargo);
        command.args(["build", "--release", "--package", "bugle"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let well = command.status().is_ok_and(|status| status.success());
        ensure!(well || program.is_file(), "the program cannot be built");
        if !well {
            eprintln!("!! the program cannot be built; measuring {} as it is", program.display());
        }
        ensure!(program.is_file(), "{} was not built; name the program with --program", program.display());
        Ok(program)
    }

    /// A new, empty store: a file in the scene, or a database of its own.
    pub(crate) fn target(&self, scene: &Scene) -> Result<Target> {
        if !self.is_postgres() {
            return Ok(Target::Sqlite(scene.file("bugle.sqlite")));
        }
        Ok(Target::Postgres(self.database()?))
    }

    fn database(&self) -> Result<String> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.database().url);
        }
        let url = self.options.database_url.clone().context("asked for by `is_postgres`")?;
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        ensure!(
            number == 0,
            "the database of --database-url serves one figure a call; use --postgres for all"
        );
        Ok(url)
    }

    /// Opens a store with the settings of the program.
    pub(crate) async fn open(&self, target: &Target) -> Result<Store> {
        Ok(Store::open(target, Settings::default(), now().micros()).await?)
    }
}

/// The time of the machine.
pub(crate) fn now() -> Moment {
    SystemClock.now()
}
