//! How often a transaction on PostgreSQL goes to the server and back, counted on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store::{Settings, Store, Target, Tx, events, p, sql};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Relays to the server and counts how often the client speaks after the server has spoken.
async fn relay(listener: TcpListener, server: u16, trips: Arc<AtomicUsize>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        let trips = trips.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut asked, mut told) = ([0; 65536], [0; 65536]);
            let mut server_spoke_last = true;
            loop {
                tokio::select! {
                    count = client.read(&mut asked) => {
                        let Ok(count @ 1..) = count else { return };
                        if std::mem::take(&mut server_spoke_last) {
                            trips.fetch_add(1, Ordering::SeqCst);
                        }
                        server.write_all(&asked[..count]).await.unwrap();
                    }
                    count = server.read(&mut told) => {
                        let Ok(count @ 1..) = count else { return };
                        server_spoke_last = true;
                        if client.write_all(&told[..count]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}

async fn seven_writes(tx: &mut Tx<'_>) -> Result<(), store::StoreError> {
    let upsert = sql!(
        "INSERT INTO accounts (id, balance) VALUES ($1, 1) \
         ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + 1"
    );
    for account in ["a", "b", "c", "d", "e", "f"] {
        tx.run(upsert, p![account]).await?;
    }
    events::append(tx, "acme", "counted", "{}", crate::NOON).await
}

// On one thread: the relay then sees all that the store sends in one go at once.
#[tokio::test]
async fn writes_alone_are_one_round_trip_and_a_read_is_one_more() {
    let Some(database) = crate::postgres::database() else { return };
    let config: tokio_postgres::Config = database.url.parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let trips = Arc::new(AtomicUsize::new(0));
    let relay = tokio::spawn(relay(listener, config.get_ports()[0], trips.clone()));
    let target =
        Target::Postgres(format!("postgres://bugle@127.0.0.1:{port}/{}", config.get_dbname().unwrap()));
    let mut seen = Vec::new();
    for pg_pipelining in [true, false] {
        let settings = Settings { pg_pipelining, ..Settings::default() };
        let store = Store::open_with(&target, settings, crate::NOON, crate::SCHEMA).await.unwrap();
        for write in [true, false] {
            let once = || async {
                let before = trips.load(Ordering::SeqCst);
                if write {
                    store.write(|tx| Box::pin(seven_writes(tx))).await.unwrap();
                } else {
                    store.ping().await.unwrap();
                }
                trips.load(Ordering::SeqCst) - before
            };
            // The first goes to prepare the statements.
            once().await;
            // The end of a read is sent behind its back, and a busy machine cuts one go into two: what it costs is the
            // least of a few.
            let mut least = usize::MAX;
            for _ in 0..10 {
                least = least.min(once().await);
            }
            seen.push((pg_pipelining, write, least));
        }
        store.close().await;
    }
    assert_eq!(
        seen,
        [
            (true, true, 1),
            (true, false, 1),
            // Begin rides with the first statement in any case.
            (false, true, 8),
            (false, false, 1),
        ]
    );
    relay.abort();
}
