//! The pool of connections and how each of them is set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::NoTls;

use crate::StoreError;

pub(crate) type Client = deadpool_postgres::Object;

/// Given to the server with each connection. A statement of ours takes milliseconds; these end what hangs.
const SESSION: &str = "-c statement_timeout=30000 -c lock_timeout=10000 \
     -c idle_in_transaction_session_timeout=60000 -c default_transaction_isolation=read\\ committed";

pub(crate) struct Postgres {
    pool: Pool,
    url: String,
    waiting_high: AtomicUsize,
    waiting_bulk: AtomicUsize,
    /// Bulk writes may hold a quarter of the connections, so that a claim always finds one soon.
    bulk: Semaphore,
    /// One permit is out for each call under way; all of them are in when nothing is.
    under_way: Arc<Semaphore>,
}

const MOST_UNDER_WAY: u32 = 1 << 24;

impl Postgres {
    pub(crate) fn new(url: &str, connections: usize) -> Result<Self, StoreError> {
        let mut config: tokio_postgres::Config = url.parse().map_err(StoreError::unavailable)?;
        let session = match config.get_options() {
            // What the operator wrote comes last and wins.
            Some(given) => format!("{SESSION} {given}"),
            None => SESSION.to_owned(),
        };
        config.options(session);
        if config.get_application_name().is_none() {
            config.application_name("bugle");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let connections = connections.max(2);
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(StoreError::unavailable)?;
        Ok(Self {
            pool,
            url: url.to_owned(),
            waiting_high: AtomicUsize::new(0),
            waiting_bulk: AtomicUsize::new(0),
            bulk: Semaphore::new((connections / 4).max(1)),
            under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY as usize)),
        })
    }

    /// A connection; waits for one to come back when all are out.
    pub(crate) async fn client(&self) -> Result<Client, StoreError> {
        use deadpool_postgres::PoolError;
        match self.pool.get().await {
            Ok(client) => Ok(client),
            Err(PoolError::Closed) => Err(StoreError::Closed),
            Err(PoolError::Backend(error)) => Err(StoreError::unavailable(error)),
            Err(error) => Err(StoreError::unavailable(error)),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Refuses those that wait for a connection and waits for those that have one.
    pub(crate) async fn close(&self) {
        self.pool.close();
        let all = self.under_way.acquire_many(MOST_UNDER_WAY).await;
        drop(all.expect("this semaphore is never closed"));
    }

    /// Marks a call as under way for as long as the permit lives.
    pub(crate) fn begin_call(&self) -> Option<OwnedSemaphorePermit> {
        // None left: the store is being closed, or millions of calls wait already.
        self.under_way.clone().try_acquire_owned().ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting_high.load(Ordering::Relaxed), self.waiting_bulk.load(Ordering::Relaxed))
    }

    /// The line that a call of this priority stands in.
    pub(crate) fn line(&self, bulk: bool) -> &AtomicUsize {
        if bulk { &self.waiting_bulk } else { &self.waiting_high }
    }

    /// Lets a bulk write through when few enough of them are under way.
    pub(crate) async fn bulk_turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.bulk.acquire().await.expect("this semaphore is never closed")
    }
}
